# check=skp=StageNameCasing
FROM scratch
