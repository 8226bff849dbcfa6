# So much a week from Monday, Berlin time; the last purchase of Sunday night and the first of Monday are weeks apart.
settings [[limits]]
settings name = "pocket-money"
settings version = "1"
settings effective_from = "2026-01-01T00:00:00Z"
settings currency = "EUR"
settings accounts = ["child"]
settings window = "week"
settings week_starts_on = "monday"
settings zone = "Europe/Berlin"
settings amount_minor_max = 1_500
settings [[limits]]
settings name = "no-casinos"
settings version = "1"
settings effective_from = "2026-01-01T00:00:00Z"
settings customers = ["customer of child"]
settings blocked_categories = ["7995"]
open child limit 100.00
open shop kind merchant
at 2026-02-01T22:59:59.999999Z
pay p1 child shop 15.00
pay p2 child shop 0.01
at 2026-02-02T12:00:00Z
pay p3 child shop 14.99
pay p4 child shop 0.01 -> week_amount_limit_exceeded
authorise h1 child shop 1.00 at slots 7995 DE -> merchant_category_not_allowed
# The clock is put forward on 29 March: that Monday begins an hour earlier.
at 2026-03-29T21:59:59.999999Z
pay p5 child shop 15.00
at 2026-03-29T22:00:00Z
pay p6 child shop 15.00
pay p7 child shop 0.01 -> week_amount_limit_exceeded
deliver

--- ledger
child: posted -60.00, held 0.00, expected 0.00
   1 debit      -15.00 =    -15.00 held    0.00  in_transit transfer p1
   2 debit       -0.01 =    -15.01 held    0.00  in_transit transfer p2
   3 debit      -14.99 =    -30.00 held    0.00  in_transit transfer p3
   4 debit      -15.00 =    -45.00 held    0.00  in_transit transfer p5
   5 debit      -15.00 =    -60.00 held    0.00  in_transit transfer p6
shop: posted 60.00, held 0.00, expected 0.00
   1 credit      15.00 =     15.00 held    0.00  in_transit transfer p1
   2 credit       0.01 =     15.01 held    0.00  in_transit transfer p2
   3 credit      14.99 =     30.00 held    0.00  in_transit transfer p3
   4 credit      15.00 =     45.00 held    0.00  in_transit transfer p5
   5 credit      15.00 =     60.00 held    0.00  in_transit transfer p6
