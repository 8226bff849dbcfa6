# The buyer pays the marketplace, which pays two sellers and keeps its commission.
open cash kind asset
open buyer
open market kind liability
open seller_a kind merchant
open seller_b kind merchant
open commission kind income
deposit d1 cash buyer 100.00
deliver
pay p1 buyer market 100.00
deliver
pay p2 market seller_a 60.00
pay p3 market seller_b 30.00
pay p4 market commission 10.00
pay p5 market seller_a 0.01 -> insufficient_funds
deliver

--- ledger
buyer: posted 0.00, held 0.00, expected 0.00
   1 credit     100.00 =    100.00 held    0.00  in_transit deposit d1
   2 debit     -100.00 =      0.00 held    0.00  in_transit transfer p1
cash: posted -100.00, held 0.00, expected 0.00
   1 debit     -100.00 =   -100.00 held    0.00  in_transit deposit d1
commission: posted 10.00, held 0.00, expected 0.00
   1 credit      10.00 =     10.00 held    0.00  in_transit transfer p4
market: posted 0.00, held 0.00, expected 0.00
   1 credit     100.00 =    100.00 held    0.00  in_transit transfer p1
   2 debit      -60.00 =     40.00 held    0.00  in_transit transfer p2
   3 debit      -30.00 =     10.00 held    0.00  in_transit transfer p3
   4 debit      -10.00 =      0.00 held    0.00  in_transit transfer p4
seller_a: posted 60.00, held 0.00, expected 0.00
   1 credit      60.00 =     60.00 held    0.00  in_transit transfer p2
seller_b: posted 30.00, held 0.00, expected 0.00
   1 credit      30.00 =     30.00 held    0.00  in_transit transfer p3
