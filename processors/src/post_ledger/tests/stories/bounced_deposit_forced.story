# The same, where the settings let the account go below zero.
settings reverse_when_spent = "force"
open cash kind asset
open alice
open bob
deposit d1 cash alice 80.00
deliver
pay p1 alice bob 50.00
deliver
reverse x1 alice cash 80.00 of d1
deliver

--- ledger
alice: posted -50.00, held 0.00, expected 0.00
   1 credit      80.00 =     80.00 held    0.00  in_transit deposit d1
   2 debit      -50.00 =     30.00 held    0.00  in_transit transfer p1
   3 debit      -80.00 =    -50.00 held    0.00  in_transit reverse x1 of d1
bob: posted 50.00, held 0.00, expected 0.00
   1 credit      50.00 =     50.00 held    0.00  in_transit transfer p1
cash: posted 0.00, held 0.00, expected 0.00
   1 debit      -80.00 =    -80.00 held    0.00  in_transit deposit d1
   2 credit      80.00 =      0.00 held    0.00  in_transit reverse x1 of d1
alert: account_overdrawn alice
