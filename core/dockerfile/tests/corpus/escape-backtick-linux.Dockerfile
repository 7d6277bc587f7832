# escape=`
FROM alpine
RUN echo a `
  && echo "b\n"
ENV A=x` y B="c`"d"
