# Three refunds bring the fee back by their share, rounded down, and the last the rest of it.
open buyer limit 11.00
open shop kind merchant
pay p1 buyer shop 10.00 fee 1.00 refunds pro_rata
deliver
refund r1 shop buyer 3.33 of p1
deliver
balance buyer -> -7.34
refund r2 shop buyer 3.33 of p1
deliver
refund r3 shop buyer 3.34 of p1
deliver
balance buyer -> 0.00
total fees -> 0.00

--- ledger
buyer: posted 0.00, held 0.00, expected 0.00
   1 debit      -10.00 =    -10.00 held    0.00  in_transit transfer p1
   2 fee         -1.00 =    -11.00 held    0.00  fees       transfer p1
   3 credit       3.33 =     -7.67 held    0.00  in_transit refund r1 of p1
   4 fee          0.33 =     -7.34 held    0.00  fees       refund r1 of p1
   5 credit       3.33 =     -4.01 held    0.00  in_transit refund r2 of p1
   6 fee          0.33 =     -3.68 held    0.00  fees       refund r2 of p1
   7 credit       3.34 =     -0.34 held    0.00  in_transit refund r3 of p1
   8 fee          0.34 =      0.00 held    0.00  fees       refund r3 of p1
shop: posted 0.00, held 0.00, expected 0.00
   1 credit      10.00 =     10.00 held    0.00  in_transit transfer p1
   2 debit       -3.33 =      6.67 held    0.00  in_transit refund r1 of p1
   3 debit       -3.33 =      3.34 held    0.00  in_transit refund r2 of p1
   4 debit       -3.34 =      0.00 held    0.00  in_transit refund r3 of p1
fees: 0.00 EUR
