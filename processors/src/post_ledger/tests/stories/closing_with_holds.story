# An account is closed over an open hold, which its payee no longer expects.
open alice limit 100.00
open shop kind merchant
authorise h1 alice shop 30.00
authorise h2 alice shop 20.00
deliver
close alice -> account_not_empty
close alice release
capture c1 alice shop 30.00 of h1 -> already_voided
deliver

--- ledger
alice: posted 0.00, held 0.00, expected 0.00, closed
   1 hold        30.00 =      0.00 held   30.00  shop       authorise h1
   2 hold        20.00 =      0.00 held   50.00  shop       authorise h2
   3 release    -30.00 =      0.00 held   20.00  shop       authorise h1
   4 release    -20.00 =      0.00 held    0.00  shop       authorise h2
shop: posted 0.00, held 0.00, expected 0.00
