# Both wallets are closed while the money is on its way: it stands in suspense, in the currency that was sold.
open cash kind asset
open eur
open usd in USD
deposit d1 cash eur 100.00
deliver
close usd
exchange x1 eur usd 100.00 for 108.00 USD spread 0.50
close eur
deliver

--- ledger
cash: posted -100.00, held 0.00, expected 0.00
   1 debit     -100.00 =   -100.00 held    0.00  in_transit deposit d1
eur: posted 0.00, held 0.00, expected 0.00, closed
   1 credit     100.00 =    100.00 held    0.00  in_transit deposit d1
   2 debit     -100.00 =      0.00 held    0.00  fx_position fx_exchange x1
usd: posted 0.00, held 0.00, expected 0.00, closed
suspense: 100.00 EUR
fx_position: 0.00 EUR
fx_position: 0.00 USD
fx_spread: 0.00 USD
alert: money_in_suspense eur
