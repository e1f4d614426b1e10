"""
Forecast a monthly series
=========================

The airline passengers of Box and Jenkins (1976), 144 months. `Forecaster` finds the season by the dates, and gives intervals.
"""

import matplotlib.pyplot as plt
import pandas as pd

import fastbptt

values, dates = fastbptt.datasets.load_airline_passengers(return_dates=True)
passengers = pd.Series(values[0, :, 0], pd.DatetimeIndex(dates.astype("datetime64[ns]"), freq="MS"), name="passengers")

model = fastbptt.Forecaster(horizon=12, interval=(80, 95), random_state=0).fit(passengers)
ahead = model.predict()
print(model.describe())

# %%
# Rolling forecasts over the last 20 %, by a model that has not seen them, are compared with simple methods.

print(model.backtest())

fig, ax = plt.subplots(figsize=(10, 4), layout="constrained")
ax.plot(passengers, color="0.4", label="observed")
for level, alpha in ((95, 0.15), (80, 0.3)):
    ax.fill_between(ahead["time"], ahead[f"lower_{level}"], ahead[f"upper_{level}"], color="#0072B2", alpha=alpha, linewidth=0,
                    label=f"{level} % interval")
ax.plot(ahead["time"], ahead["forecast"], color="#0072B2", label="forecast")
ax.set_ylabel("thousand passengers a month")
ax.legend(loc="upper left")
plt.show()
