# The books of a small bank add up to zero.
open cash kind asset
open rent kind expense
open interest kind income
open equity kind liability
open landlord
open alice
deposit d1 cash equity 1000.00
pay e1 rent landlord 200.00
deposit d2 cash alice 50.00
deliver
pay i1 alice interest 5.00
withdraw w1 landlord cash 200.00
deliver

--- ledger
alice: posted 45.00, held 0.00, expected 0.00
   1 credit      50.00 =     50.00 held    0.00  in_transit deposit d2
   2 debit       -5.00 =     45.00 held    0.00  in_transit transfer i1
cash: posted -850.00, held 0.00, expected 0.00
   1 debit    -1000.00 =  -1000.00 held    0.00  in_transit deposit d1
   2 debit      -50.00 =  -1050.00 held    0.00  in_transit deposit d2
   3 credit     200.00 =   -850.00 held    0.00  in_transit withdrawal w1
equity: posted 1000.00, held 0.00, expected 0.00
   1 credit    1000.00 =   1000.00 held    0.00  in_transit deposit d1
interest: posted 5.00, held 0.00, expected 0.00
   1 credit       5.00 =      5.00 held    0.00  in_transit transfer i1
landlord: posted 0.00, held 0.00, expected 0.00
   1 credit     200.00 =    200.00 held    0.00  in_transit transfer e1
   2 debit     -200.00 =      0.00 held    0.00  in_transit withdrawal w1
rent: posted -200.00, held 0.00, expected 0.00
   1 debit     -200.00 =   -200.00 held    0.00  in_transit transfer e1
