# A credit line is cut while it is in use: what is owed stays, nothing new is lent.
open alice limit 100.00
open bob
pay p1 alice bob 80.00
limit alice 50.00
pay p2 alice bob 0.01 -> insufficient_funds
deliver
pay p3 bob alice 60.00
deliver
pay p4 alice bob 30.00
deliver

--- ledger
alice: posted -50.00, held 0.00, expected 0.00
   1 debit      -80.00 =    -80.00 held    0.00  in_transit transfer p1
   2 credit      60.00 =    -20.00 held    0.00  in_transit transfer p3
   3 debit      -30.00 =    -50.00 held    0.00  in_transit transfer p4
bob: posted 50.00, held 0.00, expected 0.00
   1 credit      80.00 =     80.00 held    0.00  in_transit transfer p1
   2 debit      -60.00 =     20.00 held    0.00  in_transit transfer p3
   3 credit      30.00 =     50.00 held    0.00  in_transit transfer p4
