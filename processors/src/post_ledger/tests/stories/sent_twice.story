# The app did not hear back, made the payment anew under another id, and undoes the first.
open alice limit 100.00
open bob
pay p1 alice bob 40.00 fee 0.40
pay p2 alice bob 40.00 fee 0.40
deliver
reverse x1 bob alice 40.00 of p1
reverse x2 bob alice 40.00 of p1 -> already_reversed
deliver

--- ledger
alice: posted -40.40, held 0.00, expected 0.00
   1 debit      -40.00 =    -40.00 held    0.00  in_transit transfer p1
   2 fee         -0.40 =    -40.40 held    0.00  fees       transfer p1
   3 debit      -40.00 =    -80.40 held    0.00  in_transit transfer p2
   4 fee         -0.40 =    -80.80 held    0.00  fees       transfer p2
   5 credit      40.00 =    -40.80 held    0.00  in_transit reverse x1 of p1
   6 fee          0.40 =    -40.40 held    0.00  fees       reverse x1 of p1
bob: posted 40.00, held 0.00, expected 0.00
   1 credit      40.00 =     40.00 held    0.00  in_transit transfer p1
   2 credit      40.00 =     80.00 held    0.00  in_transit transfer p2
   3 debit      -40.00 =     40.00 held    0.00  in_transit reverse x1 of p1
fees: 0.40 EUR
