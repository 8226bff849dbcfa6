# A capture is honoured to the last cent; its fee was never held.
open alice limit 40.00
open shop kind merchant
authorise h1 alice shop 40.00
capture c1 alice shop 40.00 of h1 fee 0.40
deliver
pay p1 shop alice 0.40
deliver
pay p2 alice shop 0.01 -> insufficient_funds

--- ledger
alice: posted -40.00, held 0.00, expected 0.00
   1 hold        40.00 =      0.00 held   40.00  shop       authorise h1
   2 debit      -40.00 =    -40.00 held    0.00  in_transit capture c1 of h1
   3 fee         -0.40 =    -40.40 held    0.00  fees       capture c1 of h1
   4 credit       0.40 =    -40.00 held    0.00  in_transit transfer p1
shop: posted 39.60, held 0.00, expected 0.00
   1 credit      40.00 =     40.00 held    0.00  in_transit capture c1 of h1
   2 debit       -0.40 =     39.60 held    0.00  in_transit transfer p1
fees: 0.40 EUR
alert: account_overdrawn alice
