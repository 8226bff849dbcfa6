# A sender that is not sure sends the whole file again: nothing happens twice.
open alice limit 100.00
open bob
pay p1 alice bob 10.00
pay p2 alice bob 95.00 -> insufficient_funds
authorise h1 alice bob 20.00
capture c1 alice bob 20.00 of h1
deliver
pay p1 alice bob 10.00 -> duplicate
pay p2 alice bob 95.00 -> duplicate
authorise h1 alice bob 20.00 -> duplicate
capture c1 alice bob 20.00 of h1 -> duplicate
pay p1 alice bob 11.00 -> idempotency_conflict
deliver

--- ledger
alice: posted -30.00, held 0.00, expected 0.00
   1 debit      -10.00 =    -10.00 held    0.00  in_transit transfer p1
   2 hold        20.00 =    -10.00 held   20.00  bob        authorise h1
   3 debit      -20.00 =    -30.00 held    0.00  in_transit capture c1 of h1
bob: posted 30.00, held 0.00, expected 0.00
   1 credit      10.00 =     10.00 held    0.00  in_transit transfer p1
   2 credit      20.00 =     30.00 held    0.00  in_transit capture c1 of h1
