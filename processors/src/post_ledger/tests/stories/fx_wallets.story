# One customer, three wallets. What cannot be exchanged changes nothing, and what cannot arrive comes back whole.
open cash kind asset
open wallet_eur
open wallet_jpy in JPY
open wallet_kwd in KWD
deposit d1 cash wallet_eur 100.00
deliver
exchange x1 wallet_eur wallet_jpy 50.00 for 8077 JPY spread 1
exchange x2 wallet_eur wallet_kwd 50.01 for 16.669 KWD -> insufficient_funds
exchange x3 wallet_eur wallet_kwd 50.00 for 16.666 KWD spread 0.001
deliver
# Yen to the wallet that holds dinars: the receiver says so, and the euros come back at what they were sold for.
exchange x4 wallet_jpy wallet_kwd 1000 in JPY for 6.10 EUR spread 0.02
deliver
exchange x5 wallet_jpy wallet_eur 1000 in EUR for 6.10 USD -> currency_mismatch

--- ledger
cash: posted -100.00, held 0.00, expected 0.00
   1 debit     -100.00 =   -100.00 held    0.00  in_transit deposit d1
wallet_eur: posted 0.00, held 0.00, expected 0.00
   1 credit     100.00 =    100.00 held    0.00  in_transit deposit d1
   2 debit      -50.00 =     50.00 held    0.00  fx_position fx_exchange x1
   3 debit      -50.00 =      0.00 held    0.00  fx_position fx_exchange x3
wallet_jpy: posted 8077, held 0, expected 0
   1 credit       8077 =      8077 held       0  in_transit fx_exchange x1
   2 debit       -1000 =      7077 held       0  fx_position fx_exchange x4
   3 return       1000 =      8077 held       0  fx_position fx_exchange x4
wallet_kwd: posted 16.666, held 0.000, expected 0.000
   1 credit     16.666 =    16.666 held   0.000  in_transit fx_exchange x3
fx_position: 100.00 EUR
fx_position: -8078 JPY
fx_position: -16.667 KWD
fx_spread: 0.00 EUR
fx_spread: 1 JPY
fx_spread: 0.001 KWD
