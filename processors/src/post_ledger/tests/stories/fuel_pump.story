# The pump authorises an estimate; the settings allow 15 % beyond it.
settings over_capture_percent = 15
open driver limit 200.00
open station kind merchant
authorise h1 driver station 100.00
capture c1 driver station 115.01 of h1 -> capture_exceeds_hold
capture c2 driver station 112.34 of h1
deliver

--- ledger
driver: posted -112.34, held 0.00, expected 0.00
   1 hold       100.00 =      0.00 held  100.00  station    authorise h1
   2 debit     -112.34 =   -112.34 held    0.00  in_transit capture c2 of h1
station: posted 112.34, held 0.00, expected 0.00
   1 credit     112.34 =    112.34 held    0.00  in_transit capture c2 of h1
