# The first refund brings the whole fee back. One that its receiver cannot take brings nothing, and can be made again.
open buyer limit 11.00
open shop kind merchant
pay p1 buyer shop 10.00 fee 1.00 refunds returned
deliver
freeze buyer credits
refund r1 shop buyer 1.00 of p1
deliver
balance buyer -> -11.00
total fees -> 1.00
thaw buyer credits
refund r2 shop buyer 1.00 of p1
deliver
balance buyer -> -9.00
refund r3 shop buyer 9.00 of p1
deliver
balance buyer -> 0.00

--- ledger
buyer: posted 0.00, held 0.00, expected 0.00
   1 debit      -10.00 =    -10.00 held    0.00  in_transit transfer p1
   2 fee         -1.00 =    -11.00 held    0.00  fees       transfer p1
   3 credit       1.00 =    -10.00 held    0.00  in_transit refund r2 of p1
   4 fee          1.00 =     -9.00 held    0.00  fees       refund r2 of p1
   5 credit       9.00 =      0.00 held    0.00  in_transit refund r3 of p1
shop: posted 0.00, held 0.00, expected 0.00
   1 credit      10.00 =     10.00 held    0.00  in_transit transfer p1
   2 debit       -1.00 =      9.00 held    0.00  in_transit refund r1 of p1
   3 return       1.00 =     10.00 held    0.00  in_transit refund r1 of p1
   4 debit       -1.00 =      9.00 held    0.00  in_transit refund r2 of p1
   5 debit       -9.00 =      0.00 held    0.00  in_transit refund r3 of p1
fees: 0.00 EUR
