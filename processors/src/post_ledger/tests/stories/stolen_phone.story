# Three payments an hour at most: a thief is slowed down, and an hour after the first payment there is room for one more.
settings [[limits]]
settings name = "an-hour"
settings version = "1"
settings effective_from = "2026-01-01T00:00:00Z"
settings window = "rolling"
settings window_minutes = 60
settings payments_max = 3
open a limit 1000.00
open b
at 0
pay p1 a b 10.00
at 1200
pay p2 a b 10.00
at 2400
pay p3 a b 10.00
at 3599.999999
pay p4 a b 10.00 -> rolling_count_limit_exceeded
status p4 -> outcome RJCT rolling_count_limit_exceeded fee 0.00 limit an-hour@1: 0 payments left until 2026-01-31T13:00:00Z
at 3600
pay p5 a b 10.00
pay p6 a b 10.00 -> rolling_count_limit_exceeded
deliver

--- ledger
a: posted -40.00, held 0.00, expected 0.00
   1 debit      -10.00 =    -10.00 held    0.00  in_transit transfer p1
   2 debit      -10.00 =    -20.00 held    0.00  in_transit transfer p2
   3 debit      -10.00 =    -30.00 held    0.00  in_transit transfer p3
   4 debit      -10.00 =    -40.00 held    0.00  in_transit transfer p5
b: posted 40.00, held 0.00, expected 0.00
   1 credit      10.00 =     10.00 held    0.00  in_transit transfer p1
   2 credit      10.00 =     20.00 held    0.00  in_transit transfer p2
   3 credit      10.00 =     30.00 held    0.00  in_transit transfer p3
   4 credit      10.00 =     40.00 held    0.00  in_transit transfer p5
