# One payment of a customer is shared out to a shop, a courier and the platform, at once.
open cash kind asset
open alice
open shop kind merchant
open courier kind merchant
open platform kind income
deposit d1 cash alice 50.00
deliver
journal j1 alice 40.00 to shop 30.00 courier 6.50 platform 3.50
deliver
refund r1 courier alice 6.50 of j1
deliver

--- ledger
alice: posted 16.50, held 0.00, expected 0.00
   1 credit      50.00 =     50.00 held    0.00  in_transit deposit d1
   2 debit      -40.00 =     10.00 held    0.00  in_transit journal j1
   3 credit       6.50 =     16.50 held    0.00  in_transit refund r1 of j1
cash: posted -50.00, held 0.00, expected 0.00
   1 debit      -50.00 =    -50.00 held    0.00  in_transit deposit d1
courier: posted 0.00, held 0.00, expected 0.00
   1 credit       6.50 =      6.50 held    0.00  in_transit journal j1
   2 debit       -6.50 =      0.00 held    0.00  in_transit refund r1 of j1
platform: posted 3.50, held 0.00, expected 0.00
   1 credit       3.50 =      3.50 held    0.00  in_transit journal j1
shop: posted 30.00, held 0.00, expected 0.00
   1 credit      30.00 =     30.00 held    0.00  in_transit journal j1
