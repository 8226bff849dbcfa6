# A direct debit bounces when its money is spent: refused by default.
open cash kind asset
open alice
open bob
deposit d1 cash alice 80.00
deliver
pay p1 alice bob 50.00
deliver
reverse x1 alice cash 80.00 of d1 -> insufficient_funds

--- ledger
alice: posted 30.00, held 0.00, expected 0.00
   1 credit      80.00 =     80.00 held    0.00  in_transit deposit d1
   2 debit      -50.00 =     30.00 held    0.00  in_transit transfer p1
bob: posted 50.00, held 0.00, expected 0.00
   1 credit      50.00 =     50.00 held    0.00  in_transit transfer p1
cash: posted -80.00, held 0.00, expected 0.00
   1 debit      -80.00 =    -80.00 held    0.00  in_transit deposit d1
