# A traveller buys dollars, spends some, and sells the rest back: by another quote, since none works both ways.
open cash kind asset
open eur
open usd in USD
open hotel kind merchant in USD
deposit d1 cash eur 500.00
deliver
exchange x1 eur usd 200.00 for 216.00 USD spread 1.00
deliver
pay p1 usd hotel 116.00 in USD
deliver
exchange x2 usd eur 100.00 in USD for 91.70 EUR spread 0.47
deliver

--- ledger
cash: posted -500.00, held 0.00, expected 0.00
   1 debit     -500.00 =   -500.00 held    0.00  in_transit deposit d1
eur: posted 391.70, held 0.00, expected 0.00
   1 credit     500.00 =    500.00 held    0.00  in_transit deposit d1
   2 debit     -200.00 =    300.00 held    0.00  fx_position fx_exchange x1
   3 credit      91.70 =    391.70 held    0.00  in_transit fx_exchange x2
hotel: posted 116.00, held 0.00, expected 0.00
   1 credit     116.00 =    116.00 held    0.00  in_transit transfer p1
usd: posted 0.00, held 0.00, expected 0.00
   1 credit     216.00 =    216.00 held    0.00  in_transit fx_exchange x1
   2 debit     -116.00 =    100.00 held    0.00  in_transit transfer p1
   3 debit     -100.00 =      0.00 held    0.00  fx_position fx_exchange x2
fx_position: 107.83 EUR
fx_position: -117.00 USD
fx_spread: 0.47 EUR
fx_spread: 1.00 USD
