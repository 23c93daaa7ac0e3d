"""Money is an integer number of minor units with an ISO 4217 currency, a string in JSON."""

import re

_EXPONENTS: dict[int, str] = {
    0: "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF",
    2: "AED AFN ALL AMD ANG AOA ARS AUD AWG AZN BAM BBD BDT BGN BMD BND BOB BRL BSD BTN BWP BYN "
    "BZD CAD CDF CHF CNY COP CRC CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP "
    "GMD GTQ GYD HKD HNL HTG HUF IDR ILS INR IRR JMD KES KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL "
    "MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK NPR NZD PAB PEN PGK "
    "PHP PKR PLN QAR RON RSD RUB SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB "
    "TJS TMT TOP TRY TTD TWD TZS UAH USD UYU UZS WST XCD YER ZAR ZMW",
    3: "BHD IQD JOD KWD LYD OMR TND",
    4: "CLF UYW",
}

CURRENCY_EXPONENT = {
    currency: exponent for exponent, codes in _EXPONENTS.items() for currency in codes.split()
}

# Eighteen digits: ten such amounts still fit a signed 64-bit integer.
MAX_AMOUNT_MINOR = 10**18 - 1
AMOUNT_PATTERN = r"^[1-9][0-9]{0,17}$"
DEPOSIT_PATTERN = r"^[1-9][0-9]{0,14}$"
_AMOUNT = re.compile(AMOUNT_PATTERN.strip("^$"))


def parse_amount_minor(text: str) -> int:
    """Minor units from a decimal string without sign, point, exponent or leading zero."""
    if not _AMOUNT.fullmatch(text):
        raise ValueError("an amount is a string of 1 to 18 decimal digits, greater than zero")
    return int(text)
