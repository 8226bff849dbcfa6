# Rent is due before the salary has come, and is tried again.
settings scheduled_grace_minutes = 0
settings retry_minutes = 30
open cash kind asset
open tenant
open landlord
at 0
pay rent tenant landlord 500.00 waits 3000 retries 86400
at 3000
tick
deliver
at 3600
deposit salary cash tenant 600.00
deliver
at 4800
tick
deliver

--- ledger
cash: posted -600.00, held 0.00, expected 0.00
   1 debit     -600.00 =   -600.00 held    0.00  in_transit deposit salary
landlord: posted 500.00, held 0.00, expected 0.00
   1 credit     500.00 =    500.00 held    0.00  in_transit transfer rent
tenant: posted 100.00, held 0.00, expected 0.00
   1 credit     600.00 =    600.00 held    0.00  in_transit deposit salary
   2 debit     -500.00 =    100.00 held    0.00  in_transit transfer rent
