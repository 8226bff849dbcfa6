# Where the schedule says nothing else, the fee of a refunded payment is kept; that of one undone comes back.
open buyer limit 30.00
open shop kind merchant
pay p1 buyer shop 10.00 fee 1.00
pay p2 buyer shop 10.00 fee 1.00 refunds kept
pay p3 buyer shop 5.00 fee 1.00 refunds pro_rata
deliver
refund r1 shop buyer 10.00 of p1
refund r2 shop buyer 10.00 of p2
reverse x3 shop buyer 5.00 of p3
deliver
balance buyer -> -2.00
total fees -> 2.00

--- ledger
buyer: posted -2.00, held 0.00, expected 0.00
   1 debit      -10.00 =    -10.00 held    0.00  in_transit transfer p1
   2 fee         -1.00 =    -11.00 held    0.00  fees       transfer p1
   3 debit      -10.00 =    -21.00 held    0.00  in_transit transfer p2
   4 fee         -1.00 =    -22.00 held    0.00  fees       transfer p2
   5 debit       -5.00 =    -27.00 held    0.00  in_transit transfer p3
   6 fee         -1.00 =    -28.00 held    0.00  fees       transfer p3
   7 credit      10.00 =    -18.00 held    0.00  in_transit refund r1 of p1
   8 credit      10.00 =     -8.00 held    0.00  in_transit refund r2 of p2
   9 credit       5.00 =     -3.00 held    0.00  in_transit reverse x3 of p3
  10 fee          1.00 =     -2.00 held    0.00  fees       reverse x3 of p3
shop: posted 0.00, held 0.00, expected 0.00
   1 credit      10.00 =     10.00 held    0.00  in_transit transfer p1
   2 credit      10.00 =     20.00 held    0.00  in_transit transfer p2
   3 credit       5.00 =     25.00 held    0.00  in_transit transfer p3
   4 debit      -10.00 =     15.00 held    0.00  in_transit refund r1 of p1
   5 debit      -10.00 =      5.00 held    0.00  in_transit refund r2 of p2
   6 debit       -5.00 =      0.00 held    0.00  in_transit reverse x3 of p3
fees: 2.00 EUR
