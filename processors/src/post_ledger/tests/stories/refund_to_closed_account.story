# A refund that cannot be taken comes back to the shop and can be made again elsewhere.
open alice limit 50.00
open shop kind merchant
open cash kind asset
pay p1 alice shop 50.00
deliver
deposit d1 cash alice 50.00
deliver
close alice
refund r1 shop alice 50.00 of p1
deliver

--- ledger
alice: posted 0.00, held 0.00, expected 0.00, closed
   1 debit      -50.00 =    -50.00 held    0.00  in_transit transfer p1
   2 credit      50.00 =      0.00 held    0.00  in_transit deposit d1
cash: posted -50.00, held 0.00, expected 0.00
   1 debit      -50.00 =    -50.00 held    0.00  in_transit deposit d1
shop: posted 50.00, held 0.00, expected 0.00
   1 credit      50.00 =     50.00 held    0.00  in_transit transfer p1
   2 debit      -50.00 =      0.00 held    0.00  in_transit refund r1 of p1
   3 return      50.00 =     50.00 held    0.00  in_transit refund r1 of p1
