# Each parcel is captured when it leaves; the last article is sold out.
open buyer limit 100.00
open shop kind merchant
authorise h1 buyer shop 90.00
capture c1 buyer shop 30.00 of h1 keep
capture c2 buyer shop 25.00 of h1 keep
deliver
void v1 buyer shop 35.00 of h1
deliver
refund r1 shop buyer 25.00 of c2
deliver

--- ledger
buyer: posted -30.00, held 0.00, expected 0.00
   1 hold        90.00 =      0.00 held   90.00  shop       authorise h1
   2 debit      -30.00 =    -30.00 held   60.00  in_transit capture c1 of h1
   3 debit      -25.00 =    -55.00 held   35.00  in_transit capture c2 of h1
   4 release    -35.00 =    -55.00 held    0.00  shop       void v1 of h1
   5 credit      25.00 =    -30.00 held    0.00  in_transit refund r1 of c2
shop: posted 30.00, held 0.00, expected 0.00
   1 credit      30.00 =     30.00 held    0.00  in_transit capture c1 of h1
   2 credit      25.00 =     55.00 held    0.00  in_transit capture c2 of h1
   3 debit      -25.00 =     30.00 held    0.00  in_transit refund r1 of c2
