# A purchase on board comes in days later: it is owed, with or without funds.
open alice limit 5.00
open airline kind merchant
open cash kind asset
force f1 alice airline 12.00
deliver
deposit d1 cash alice 7.00
deliver
pay p1 alice airline 0.01 -> insufficient_funds

--- ledger
airline: posted 12.00, held 0.00, expected 0.00
   1 credit      12.00 =     12.00 held    0.00  in_transit force_post f1
alice: posted -5.00, held 0.00, expected 0.00
   1 debit      -12.00 =    -12.00 held    0.00  in_transit force_post f1
   2 credit       7.00 =     -5.00 held    0.00  in_transit deposit d1
cash: posted -7.00, held 0.00, expected 0.00
   1 debit       -7.00 =     -7.00 held    0.00  in_transit deposit d1
alert: account_overdrawn alice
