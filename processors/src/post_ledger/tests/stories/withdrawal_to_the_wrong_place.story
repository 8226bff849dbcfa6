# Money leaves only to a settlement account; anything else sends it back, fee and all.
open cash kind asset
open alice limit 100.00
open bob
withdraw w1 alice bob 40.00 fee 0.40
deliver
withdraw w2 alice cash 40.00 fee 0.40
deliver

--- ledger
alice: posted -40.40, held 0.00, expected 0.00
   1 debit      -40.00 =    -40.00 held    0.00  in_transit withdrawal w1
   2 fee         -0.40 =    -40.40 held    0.00  fees       withdrawal w1
   3 return      40.00 =     -0.40 held    0.00  in_transit withdrawal w1
   4 fee          0.40 =      0.00 held    0.00  fees       withdrawal w1
   5 debit      -40.00 =    -40.00 held    0.00  in_transit withdrawal w2
   6 fee         -0.40 =    -40.40 held    0.00  fees       withdrawal w2
bob: posted 0.00, held 0.00, expected 0.00
cash: posted 40.00, held 0.00, expected 0.00
   1 credit      40.00 =     40.00 held    0.00  in_transit withdrawal w2
fees: 0.40 EUR
