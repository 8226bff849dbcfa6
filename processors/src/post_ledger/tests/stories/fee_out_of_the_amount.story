# The platform takes its fee out of what the buyer pays: no more can be given back than has arrived.
open buyer limit 100.00
open seller kind merchant
pay p1 buyer seller 100.00 fee 2.50 deducted
deliver
available buyer -> 0.00
balance seller -> 97.50
refund r1 seller buyer 97.51 of p1 -> refund_exceeds_captured
refund r2 seller buyer 40.00 of p1
deliver
pay p2 buyer nobody 40.00 fee 2.50 deducted
deliver
status p2 -> outcome ACSC ok fee 2.50, update RJCT credit_account_not_found fee 0.00 returned: credit_account_not_found
balance buyer -> -60.00
total fees -> 2.50

--- ledger
buyer: posted -60.00, held 0.00, expected 0.00
   1 debit      -97.50 =    -97.50 held    0.00  in_transit transfer p1
   2 fee         -2.50 =   -100.00 held    0.00  fees       transfer p1
   3 credit      40.00 =    -60.00 held    0.00  in_transit refund r2 of p1
   4 debit      -37.50 =    -97.50 held    0.00  in_transit transfer p2
   5 fee         -2.50 =   -100.00 held    0.00  fees       transfer p2
   6 return      37.50 =    -62.50 held    0.00  in_transit transfer p2
   7 fee          2.50 =    -60.00 held    0.00  fees       transfer p2
seller: posted 57.50, held 0.00, expected 0.00
   1 credit      97.50 =     97.50 held    0.00  in_transit transfer p1
   2 debit      -40.00 =     57.50 held    0.00  in_transit refund r2 of p1
fees: 2.50 EUR
