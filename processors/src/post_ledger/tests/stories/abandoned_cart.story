# Nobody captures: the money is free again at the very instant.
open buyer limit 50.00
open shop kind merchant
at 0
authorise h1 buyer shop 50.00 lasts 1800
deliver
at 1799.999999
pay p1 buyer shop 50.00 -> insufficient_funds
at 1800
pay p2 buyer shop 50.00
deliver

--- ledger
buyer: posted -50.00, held 0.00, expected 0.00
   1 hold        50.00 =      0.00 held   50.00  shop       authorise h1
   2 release    -50.00 =      0.00 held    0.00  shop       authorise h1
   3 debit      -50.00 =    -50.00 held    0.00  in_transit transfer p2
shop: posted 50.00, held 0.00, expected 0.00
   1 credit      50.00 =     50.00 held    0.00  in_transit transfer p2
