FROM alpine
ENV SIMPLE=value
ENV SPACED value with spaces
ENV QUOTED="with spaces" SINGLE='single $QUOTED' ESCAPED=with\ space
ENV REF=$SIMPLE BRACED=${SIMPLE}s DEFAULT=${MISSING:-fallback} ALT=${SIMPLE:+alt}
ENV PATH=/opt/bin:$PATH
ENV MULTI=a \
    LINE=b
ENV EMPTY= NEXT=x
ENV JSON='{"a": [1, 2]}'
