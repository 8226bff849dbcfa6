# The scheme approved what the ledger refuses; the clearing is posted all the same, once.
open alice limit 10.00
open shop kind merchant
authorise h1 alice shop 25.00 -> insufficient_funds
capture c1 alice shop 25.00 of h1 -> reference_not_open
force f1 alice shop 25.00 of h1
deliver

--- ledger
alice: posted -25.00, held 0.00, expected 0.00
   1 debit      -25.00 =    -25.00 held    0.00  in_transit force_post f1 of h1
shop: posted 25.00, held 0.00, expected 0.00
   1 credit      25.00 =     25.00 held    0.00  in_transit force_post f1 of h1
alert: account_overdrawn alice
