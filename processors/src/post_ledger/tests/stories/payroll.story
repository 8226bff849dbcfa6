# Three salaries and one account that is gone: the salary comes back.
open cash kind asset
open company
open ann
open ben
open cem
close cem
deposit d1 cash company 9000.00
deliver
pay s1 company ann 3000.00
pay s2 company ben 2500.00
pay s3 company cem 2800.00
deliver

--- ledger
ann: posted 3000.00, held 0.00, expected 0.00
   1 credit    3000.00 =   3000.00 held    0.00  in_transit transfer s1
ben: posted 2500.00, held 0.00, expected 0.00
   1 credit    2500.00 =   2500.00 held    0.00  in_transit transfer s2
cash: posted -9000.00, held 0.00, expected 0.00
   1 debit    -9000.00 =  -9000.00 held    0.00  in_transit deposit d1
cem: posted 0.00, held 0.00, expected 0.00, closed
company: posted 3500.00, held 0.00, expected 0.00
   1 credit    9000.00 =   9000.00 held    0.00  in_transit deposit d1
   2 debit    -3000.00 =   6000.00 held    0.00  in_transit transfer s1
   3 debit    -2500.00 =   3500.00 held    0.00  in_transit transfer s2
   4 debit    -2800.00 =    700.00 held    0.00  in_transit transfer s3
   5 return    2800.00 =   3500.00 held    0.00  in_transit transfer s3
