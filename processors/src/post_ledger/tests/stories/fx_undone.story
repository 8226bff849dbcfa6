# An exchange made by mistake is undone at its own rate, whatever the rate is now; in parts it is not.
open cash kind asset
open eur
open usd in USD
deposit d1 cash eur 100.00
deliver
exchange x1 eur usd 100.00 for 108.00 USD spread 0.50
deliver
refund r1 usd eur 50.00 in USD of x1 -> reference_not_open
reverse r2 usd eur 100.00 in USD of x1 -> reference_mismatch
reverse r3 usd eur 108.00 in USD of x1
deliver
reverse r4 usd eur 108.00 in USD of x1 -> already_reversed

--- ledger
cash: posted -100.00, held 0.00, expected 0.00
   1 debit     -100.00 =   -100.00 held    0.00  in_transit deposit d1
eur: posted 100.00, held 0.00, expected 0.00
   1 credit     100.00 =    100.00 held    0.00  in_transit deposit d1
   2 debit     -100.00 =      0.00 held    0.00  fx_position fx_exchange x1
   3 credit     100.00 =    100.00 held    0.00  in_transit reverse r3 of x1
usd: posted 0.00, held 0.00, expected 0.00
   1 credit     108.00 =    108.00 held    0.00  in_transit fx_exchange x1
   2 debit     -108.00 =      0.00 held    0.00  fx_position reverse r3 of x1
fx_position: 0.00 EUR
fx_position: 0.00 USD
fx_spread: 0.00 USD
