# The shop has spent the money, is charged back, wins, and refunds after all.
open alice limit 60.00
open shop kind merchant
open supplier
pay p1 alice shop 60.00
deliver
pay p2 shop supplier 60.00
deliver
chargeback k1 shop alice 60.00 of p1
deliver
unchargeback u1 alice shop 60.00 of k1
deliver
pay p3 supplier shop 60.00
deliver
refund r1 shop alice 60.00 of p1
deliver

--- ledger
alice: posted 0.00, held 0.00, expected 0.00
   1 debit      -60.00 =    -60.00 held    0.00  in_transit transfer p1
   2 credit      60.00 =      0.00 held    0.00  in_transit chargeback k1 of p1
   3 debit      -60.00 =    -60.00 held    0.00  in_transit chargeback_reversal u1 of k1
   4 credit      60.00 =      0.00 held    0.00  in_transit refund r1 of p1
shop: posted 0.00, held 0.00, expected 0.00
   1 credit      60.00 =     60.00 held    0.00  in_transit transfer p1
   2 debit      -60.00 =      0.00 held    0.00  in_transit transfer p2
   3 debit      -60.00 =    -60.00 held    0.00  in_transit chargeback k1 of p1
   4 credit      60.00 =      0.00 held    0.00  in_transit chargeback_reversal u1 of k1
   5 credit      60.00 =     60.00 held    0.00  in_transit transfer p3
   6 debit      -60.00 =      0.00 held    0.00  in_transit refund r1 of p1
supplier: posted 0.00, held 0.00, expected 0.00
   1 credit      60.00 =     60.00 held    0.00  in_transit transfer p2
   2 debit      -60.00 =      0.00 held    0.00  in_transit transfer p3
alert: account_overdrawn shop
