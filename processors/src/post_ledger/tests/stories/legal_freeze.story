# A court freezes debits: wages still arrive, nothing leaves, holds can be given up.
open cash kind asset
open debtor
open shop kind merchant
deposit d1 cash debtor 100.00
deliver
authorise h1 debtor shop 10.00
freeze debtor debits
deposit d2 cash debtor 50.00
deliver
pay p1 debtor shop 5.00 -> debit_account_frozen
capture c1 debtor shop 10.00 of h1 -> debit_account_frozen
void v1 debtor shop rest of h1
thaw debtor debits
pay p2 debtor shop 5.00
deliver

--- ledger
cash: posted -150.00, held 0.00, expected 0.00
   1 debit     -100.00 =   -100.00 held    0.00  in_transit deposit d1
   2 debit      -50.00 =   -150.00 held    0.00  in_transit deposit d2
debtor: posted 145.00, held 0.00, expected 0.00
   1 credit     100.00 =    100.00 held    0.00  in_transit deposit d1
   2 hold        10.00 =    100.00 held   10.00  shop       authorise h1
   3 credit      50.00 =    150.00 held   10.00  in_transit deposit d2
   4 release    -10.00 =    150.00 held    0.00  shop       void v1 of h1
   5 debit       -5.00 =    145.00 held    0.00  in_transit transfer p2
shop: posted 5.00, held 0.00, expected 0.00
   1 credit       5.00 =      5.00 held    0.00  in_transit transfer p2
