# The buyer's money waits with a third party until the goods have come.
open buyer limit 500.00
open escrow kind liability
open seller kind merchant
pay p1 buyer escrow 500.00
deliver
pay p2 escrow seller 450.00
deliver
refund r1 escrow buyer 50.00 of p1
refund r2 escrow buyer 0.01 of p1 -> insufficient_funds
deliver

--- ledger
buyer: posted -450.00, held 0.00, expected 0.00
   1 debit     -500.00 =   -500.00 held    0.00  in_transit transfer p1
   2 credit      50.00 =   -450.00 held    0.00  in_transit refund r1 of p1
escrow: posted 0.00, held 0.00, expected 0.00
   1 credit     500.00 =    500.00 held    0.00  in_transit transfer p1
   2 debit     -450.00 =     50.00 held    0.00  in_transit transfer p2
   3 debit      -50.00 =      0.00 held    0.00  in_transit refund r1 of p1
seller: posted 450.00, held 0.00, expected 0.00
   1 credit     450.00 =    450.00 held    0.00  in_transit transfer p2
