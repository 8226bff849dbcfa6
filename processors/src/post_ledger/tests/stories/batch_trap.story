# Funds are judged on what earlier payments of the same batch have left.
open alice limit 100.00
open bob
pay p1 alice bob 60.00
pay p2 alice bob 50.00 -> insufficient_funds
pay p3 alice bob 40.00
authorise h1 alice bob 0.01 -> insufficient_funds
deliver

--- ledger
alice: posted -100.00, held 0.00, expected 0.00
   1 debit      -60.00 =    -60.00 held    0.00  in_transit transfer p1
   2 debit      -40.00 =   -100.00 held    0.00  in_transit transfer p3
bob: posted 100.00, held 0.00, expected 0.00
   1 credit      60.00 =     60.00 held    0.00  in_transit transfer p1
   2 credit      40.00 =    100.00 held    0.00  in_transit transfer p3
