# Prepaid money cannot go below zero, and is gone when it is spent.
open cash kind asset
open card_17 kind liability
open shop kind merchant
deposit d1 cash card_17 25.00
deliver
authorise h1 card_17 shop 25.01 -> insufficient_funds
authorise h2 card_17 shop 25.00
capture c1 card_17 shop 24.99 of h2
deliver
pay p1 card_17 shop 0.01
deliver
close card_17

--- ledger
card_17: posted 0.00, held 0.00, expected 0.00, closed
   1 credit      25.00 =     25.00 held    0.00  in_transit deposit d1
   2 hold        25.00 =     25.00 held   25.00  shop       authorise h2
   3 debit      -24.99 =      0.01 held    0.00  in_transit capture c1 of h2
   4 debit       -0.01 =      0.00 held    0.00  in_transit transfer p1
cash: posted -25.00, held 0.00, expected 0.00
   1 debit      -25.00 =    -25.00 held    0.00  in_transit deposit d1
shop: posted 25.00, held 0.00, expected 0.00
   1 credit      24.99 =     24.99 held    0.00  in_transit capture c1 of h2
   2 credit       0.01 =     25.00 held    0.00  in_transit transfer p1
