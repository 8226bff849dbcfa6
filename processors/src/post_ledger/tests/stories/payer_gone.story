# The payee is unknown, and the payer is closed when the money comes back.
open cash kind asset
open alice
deposit d1 cash alice 10.00
deliver
pay p1 alice nobody 10.00
close alice
deliver

--- ledger
alice: posted 0.00, held 0.00, expected 0.00, closed
   1 credit      10.00 =     10.00 held    0.00  in_transit deposit d1
   2 debit      -10.00 =      0.00 held    0.00  in_transit transfer p1
cash: posted -10.00, held 0.00, expected 0.00
   1 debit      -10.00 =    -10.00 held    0.00  in_transit deposit d1
suspense: 10.00 EUR
alert: money_in_suspense alice
