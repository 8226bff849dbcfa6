# A card for one supplier's category, with so much a month; what is not captured, and what is refunded, is there again.
settings [[limits]]
settings name = "office-card"
settings version = "1"
settings effective_from = "2026-01-01T00:00:00Z"
settings currency = "EUR"
settings cards = ["card-office-4711"]
settings allowed_categories = ["5943"]
settings blocked_countries = ["US"]
settings window = "month"
settings zone = "Europe/Berlin"
settings amount_minor_max = 20_000
settings gives_back = ["refund"]
open firm limit 1000.00
open stationer kind merchant
authorise h1 firm stationer 120.00 with card-office-4711 at paper-shop 5943 DE
authorise h2 firm stationer 20.00 with card-office-4711 at bar 5813 DE -> merchant_category_not_allowed
authorise h3 firm stationer 20.00 with card-office-4711 at paper-shop-us 5943 US -> merchant_country_not_allowed
authorise h4 firm stationer 80.01 with card-office-4711 at paper-shop 5943 DE -> month_amount_limit_exceeded
status h4 -> outcome RJCT month_amount_limit_exceeded fee 0.00 limit office-card@1: 80.00 EUR left until 2026-01-31T23:00:00Z
capture c1 firm stationer 100.00 of h1 with card-office-4711 at paper-shop 5943 DE
deliver
used firm -> office-card 100.00 1
# The firm itself pays what it likes.
pay p1 firm stationer 500.00
refund r1 stationer firm 40.00 of c1
deliver
authorise h5 firm stationer 140.00 with card-office-4711 at paper-shop 5943 DE
used firm -> office-card 200.00 2

--- ledger
firm: posted -560.00, held 140.00, expected 0.00
   1 hold       120.00 =      0.00 held  120.00  stationer  authorise h1
   2 debit     -100.00 =   -100.00 held    0.00  in_transit capture c1 of h1
   3 debit     -500.00 =   -600.00 held    0.00  in_transit transfer p1
   4 credit      40.00 =   -560.00 held    0.00  in_transit refund r1 of c1
   5 hold       140.00 =   -560.00 held  140.00  stationer  authorise h5
stationer: posted 560.00, held 0.00, expected 0.00
   1 credit     100.00 =    100.00 held    0.00  in_transit capture c1 of h1
   2 debit      -40.00 =     60.00 held    0.00  in_transit refund r1 of c1
   3 credit     500.00 =    560.00 held    0.00  in_transit transfer p1
