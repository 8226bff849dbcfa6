# A card purchase from authorisation to dispute.
open cash kind asset
open alice
open shop kind merchant
deposit d1 cash alice 200.00
deliver
authorise h1 alice shop 120.00
deliver
capture c1 alice shop 120.00 of h1 fee 1.20
deliver
refund r1 shop alice 20.00 of c1
deliver
chargeback k1 shop alice 100.00 of c1
deliver
chargeback k2 shop alice 0.01 of c1 -> refund_exceeds_captured

--- ledger
alice: posted 198.80, held 0.00, expected 0.00
   1 credit     200.00 =    200.00 held    0.00  in_transit deposit d1
   2 hold       120.00 =    200.00 held  120.00  shop       authorise h1
   3 debit     -120.00 =     80.00 held    0.00  in_transit capture c1 of h1
   4 fee         -1.20 =     78.80 held    0.00  fees       capture c1 of h1
   5 credit      20.00 =     98.80 held    0.00  in_transit refund r1 of c1
   6 credit     100.00 =    198.80 held    0.00  in_transit chargeback k1 of c1
cash: posted -200.00, held 0.00, expected 0.00
   1 debit     -200.00 =   -200.00 held    0.00  in_transit deposit d1
shop: posted 0.00, held 0.00, expected 0.00
   1 credit     120.00 =    120.00 held    0.00  in_transit capture c1 of h1
   2 debit      -20.00 =    100.00 held    0.00  in_transit refund r1 of c1
   3 debit     -100.00 =      0.00 held    0.00  in_transit chargeback k1 of c1
fees: 1.20 EUR
