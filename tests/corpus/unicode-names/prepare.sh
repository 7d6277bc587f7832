mkdir grüße
echo 1 > grüße/naïve.txt
echo 2 > 日本語.txt
echo 3 > 'with space.txt'
echo 4 > 'quo"te.txt'
echo 5 > 'star*.txt'
echo 6 > "$(printf 'new\nline')"
