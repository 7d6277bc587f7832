From alpine As Base
Run echo hello
Copy a b
Entrypoint ["x"]
