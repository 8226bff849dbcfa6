# One customer, three currencies: three accounts, each with the minor unit of its own.
open cash_jpy kind asset in JPY
open cash_kwd kind asset in KWD
open wallet_jpy in JPY
open wallet_kwd in KWD
open wallet_eur limit 10.00
deposit d1 cash_jpy wallet_jpy 1000 in JPY
deposit d2 cash_kwd wallet_kwd 1.234 in KWD
deliver
pay p1 wallet_jpy wallet_kwd 100 in JPY
pay p2 wallet_jpy wallet_kwd 1.00 in EUR -> currency_mismatch
deliver

--- ledger
cash_jpy: posted -1000, held 0, expected 0
   1 debit       -1000 =     -1000 held       0  in_transit deposit d1
cash_kwd: posted -1.234, held 0.000, expected 0.000
   1 debit      -1.234 =    -1.234 held   0.000  in_transit deposit d2
wallet_eur: posted 0.00, held 0.00, expected 0.00
wallet_jpy: posted 1000, held 0, expected 0
   1 credit       1000 =      1000 held       0  in_transit deposit d1
   2 debit        -100 =       900 held       0  in_transit transfer p1
   3 return        100 =      1000 held       0  in_transit transfer p1
wallet_kwd: posted 1.234, held 0.000, expected 0.000
   1 credit      1.234 =     1.234 held   0.000  in_transit deposit d2
