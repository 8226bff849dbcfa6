# Three banks settle what they owe each other in one go; the second time one of them cannot pay, and nobody pays.
open north limit 100.00
open south limit 100.00
open west limit 20.00
open east
journal j1 north 60.00 south 15.00 to east 75.00
deliver
journal j2 north 10.00 south 10.00 west 30.00 to east 50.00
deliver

--- ledger
east: posted 75.00, held 0.00, expected 0.00
   1 credit      75.00 =     75.00 held    0.00  in_transit journal j1
north: posted -60.00, held 0.00, expected 0.00
   1 debit      -60.00 =    -60.00 held    0.00  clearing   journal j1
   2 debit      -10.00 =    -70.00 held    0.00  clearing   journal j2
   3 return      10.00 =    -60.00 held    0.00  clearing   journal j2
south: posted -15.00, held 0.00, expected 0.00
   1 debit      -15.00 =    -15.00 held    0.00  in_transit journal j1
   2 debit      -10.00 =    -25.00 held    0.00  in_transit journal j2
   3 return      10.00 =    -15.00 held    0.00  in_transit journal j2
west: posted 0.00, held 0.00, expected 0.00
