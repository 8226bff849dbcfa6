# What its payee cannot take has not been spent, and the day's limit knows.
settings [[limits]]
settings name = "day"
settings version = "1"
settings effective_from = "2026-01-01T00:00:00Z"
settings currency = "EUR"
settings window = "day"
settings zone = "UTC"
settings amount_minor_max = 10_000
open a limit 1000.00
open b
close b
pay p1 a b 100.00
pay p2 a b 0.01 -> day_amount_limit_exceeded
deliver
pay p3 a b 100.00
used a -> day 100.00 1

--- ledger
a: posted -100.00, held 0.00, expected 0.00
   1 debit     -100.00 =   -100.00 held    0.00  in_transit transfer p1
   2 return     100.00 =      0.00 held    0.00  in_transit transfer p1
   3 debit     -100.00 =   -100.00 held    0.00  in_transit transfer p3
b: posted 0.00, held 0.00, expected 0.00, closed
