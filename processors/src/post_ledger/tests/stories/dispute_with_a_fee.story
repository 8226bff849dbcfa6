# A chargeback costs the shop a fee of its own, which comes back with the dispute that it wins.
open buyer limit 100.00
open shop kind merchant
pay p1 buyer shop 40.00
deliver
chargeback k1 shop buyer 40.00 of p1 fee 15.00 refunds returned
deliver
balance shop -> -15.00
total fees -> 15.00
unchargeback u1 buyer shop 40.00 of k1
deliver
balance shop -> 40.00
total fees -> 0.00

--- ledger
buyer: posted -40.00, held 0.00, expected 0.00
   1 debit      -40.00 =    -40.00 held    0.00  in_transit transfer p1
   2 credit      40.00 =      0.00 held    0.00  in_transit chargeback k1 of p1
   3 debit      -40.00 =    -40.00 held    0.00  in_transit chargeback_reversal u1 of k1
shop: posted 40.00, held 0.00, expected 0.00
   1 credit      40.00 =     40.00 held    0.00  in_transit transfer p1
   2 debit      -40.00 =      0.00 held    0.00  in_transit chargeback k1 of p1
   3 fee        -15.00 =    -15.00 held    0.00  fees       chargeback k1 of p1
   4 credit      40.00 =     25.00 held    0.00  in_transit chargeback_reversal u1 of k1
   5 fee         15.00 =     40.00 held    0.00  fees       chargeback_reversal u1 of k1
fees: 0.00 EUR
alert: account_overdrawn shop
