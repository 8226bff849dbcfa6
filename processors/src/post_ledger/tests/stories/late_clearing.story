# The capture comes after the hold has ended; the scheme forces it.
open alice limit 100.00
open shop kind merchant
at 0
authorise h1 alice shop 25.00 lasts 60
at 61
capture c1 alice shop 25.00 of h1 -> hold_expired
force f1 alice shop 25.00 of h1
force f2 alice shop 25.00 of h1 -> already_captured
deliver

--- ledger
alice: posted -25.00, held 0.00, expected 0.00
   1 hold        25.00 =      0.00 held   25.00  shop       authorise h1
   2 release    -25.00 =      0.00 held    0.00  shop       authorise h1
   3 debit      -25.00 =    -25.00 held    0.00  in_transit force_post f1 of h1
shop: posted 25.00, held 0.00, expected 0.00
   1 credit      25.00 =     25.00 held    0.00  in_transit force_post f1 of h1
