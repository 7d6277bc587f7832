from alpine as base
run apk add --no-cache curl
env a=1 b=2
copy . /src
workdir /src
cmd ["sh"]
