FROM alpine
RUN echo "double 'single' inside" && echo 'single "double" inside'
RUN echo $((1 + 2)) ${HOME%/} "${PATH//:/ }"
RUN if [ -f /etc/alpine-release ]; then cat /etc/alpine-release; fi
RUN [ -f /etc/passwd ] && echo yes
RUN for i in 1 2 3; do \
      echo "$i"; \
    done
RUN echo a\
b\
c
CMD echo one; echo two
ENTRYPOINT exec top -b
