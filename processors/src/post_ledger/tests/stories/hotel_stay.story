# The hold grows with the minibar; less is taken in the end.
open cash kind asset
open guest
open hotel kind merchant
deposit d1 cash guest 900.00
deliver
authorise h1 guest hotel 300.00
increment i1 guest hotel 450.00 of h1
increment i2 guest hotel 900.01 of h1 -> insufficient_funds
increment i3 guest hotel 500.00 of h1
deliver
capture c1 guest hotel 432.50 of h1
deliver
capture c2 guest hotel 10.00 of h1 -> already_captured

--- ledger
cash: posted -900.00, held 0.00, expected 0.00
   1 debit     -900.00 =   -900.00 held    0.00  in_transit deposit d1
guest: posted 467.50, held 0.00, expected 0.00
   1 credit     900.00 =    900.00 held    0.00  in_transit deposit d1
   2 hold       300.00 =    900.00 held  300.00  hotel      authorise h1
   3 hold       150.00 =    900.00 held  450.00  hotel      increment i1 of h1
   4 hold        50.00 =    900.00 held  500.00  hotel      increment i3 of h1
   5 debit     -432.50 =    467.50 held    0.00  in_transit capture c1 of h1
hotel: posted 432.50, held 0.00, expected 0.00
   1 credit     432.50 =    432.50 held    0.00  in_transit capture c1 of h1
