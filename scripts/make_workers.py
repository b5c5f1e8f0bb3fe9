#!/usr/bin/env python3
"""Makes data/workers.csv: 2,000 invented workers, the same ones on every run.

    scripts/make_workers.py            write data/workers.csv
    scripts/make_workers.py --check    exit 1 if the committed file differs

Nobody in it exists. E-mail addresses are at example.com, .org and .net (RFC
2606). Phone numbers come from ranges that regulators keep for films and books.
Social security numbers have an area or group that was never given to anybody:
area 000 or 666, or 900 to 999 with a group outside those used for tax numbers.
"""

import csv
import datetime
import io
import pathlib
import random
import sys

COUNT = 2_000
SEED = 20_260_105
OUTPUT = pathlib.Path(__file__).resolve().parent.parent / "data" / "workers.csv"
COLUMNS = ["candidate_id", "vertical", "consent_status", "retention_period_days", "eu_resident",
           "name", "email", "phone", "address", "ssn", "dob"]
FIRST_REGISTRATION = datetime.datetime(2026, 1, 5, 8, tzinfo=datetime.timezone.utc)
YOUNGEST_BORN = datetime.date(2008, 1, 1)

VERTICALS = {"general": 44, "healthcare": 21, "unknown": 15, "finance": 10, "other": 10}
CONSENTS = {"given": 82, "pending_first_contact": 6, "pending_backfill_review": 6,
            "withdrawn": 4, "expired": 2}

# Each pool: weight, whether the family name comes first, the separator, given
# names, family names. "native=latin" where the e-mail address needs a spelling.
POOLS = {
    "english": (30, False, " ",
        "James Olivia Marcus Grace Tyrone Emily Darnell Hannah Caleb Ruth Wesley Naomi Curtis Paige Elliot Simone",
        "Carter Whitfield O'Brien Brooks Sutherland Hayes Jefferson McAllister Pruitt Langley Baxter Okafor Mensah Thornton Ellison Vaughn"),
    "spanish": (14, False, " ",
        "José=jose María=maria Íñigo=inigo Lucía=lucia Ramón=ramon Begoña=begona Andrés=andres Ximena Joaquín=joaquin Inés=ines Martín=martin Soledad",
        "García=garcia Núñez=nunez Hernández=hernandez Ibáñez=ibanez Peña=pena Quiñones=quinones Gutiérrez=gutierrez Vélez=velez Ordóñez=ordonez Castañeda=castaneda Rentería=renteria Zúñiga=zuniga"),
    "french": (5, False, " ",
        "François=francois Zoé=zoe Benoît=benoit Hélène=helene Jérôme=jerome Anaïs=anais Loïc=loic Noémie=noemie",
        "Lefèvre=lefevre Beauséjour=beausejour D'Aubigné=daubigne Gauthier Pélissier=pelissier Brûlé=brule L'Hôte=lhote Desrosiers"),
    "german": (5, False, " ",
        "Jürgen=juergen Käthe=kaethe Günter=guenter Sören=soeren Annegret Björn=bjoern Mareike Dörte=doerte",
        "Müller=mueller Großmann=grossmann Schäfer=schaefer Löwe=loewe Weiß=weiss Krüger=krueger Österreicher=oesterreicher Jäger=jaeger"),
    "polish": (4, False, " ",
        "Łukasz=lukasz Małgorzata=malgorzata Zdzisław=zdzislaw Żaneta=zaneta Grażyna=grazyna Stanisław=stanislaw",
        "Wójcik=wojcik Żak=zak Kościuszko=kosciuszko Gołąb=golab Kaczmarek Świerszcz=swierszcz"),
    "czech": (3, False, " ",
        "Jiří=jiri Kateřina=katerina Břetislav=bretislav Zdeňka=zdenka Ondřej=ondrej",
        "Krejčí=krejci Hořejší=horejsi Janů=janu Tůmů=tumu Šerých=serych"),
    "turkish": (3, False, " ",
        "Çağlar=caglar Gülşen=gulsen İbrahim=ibrahim Şule=sule Özgür=ozgur Işıl=isil",
        "Yıldız=yildiz Öztürk=ozturk Çelik=celik Şahin=sahin Güneş=gunes Kılıç=kilic"),
    "vietnamese": (5, True, " ",
        "Hương=huong Đức=duc Thảo=thao Quỳnh=quynh Hữu=huu Ngọc=ngoc Phượng=phuong Tuấn=tuan",
        "Nguyễn=nguyen Trần=tran Lê=le Phạm=pham Võ=vo Đặng=dang Bùi=bui Đỗ=do"),
    "yoruba": (3, False, " ",
        "Adébáyọ̀=adebayo Ọláṣẹ̀ni=olaseni Títílayọ̀=titilayo Fúnmiláyọ̀=funmilayo",
        "Ọ̀ṣúntókun=osuntokun Adéṣínà=adesina Ògúnbámbi=ogunbambi Akínyẹlé=akinyele"),
    "russian": (4, False, " ",
        "Дмитрий=dmitry Екатерина=ekaterina Артём=artyom Юлия=yulia Фёдор=fyodor Ксения=ksenia",
        "Черных=chernykh Седых=sedykh Щербань=shcherban Мельник=melnik Живаго=zhivago Юрьевых=yuryevykh"),
    "ukrainian": (3, False, " ",
        "Олександр=oleksandr Ївга=yivha Євген=yevhen Ґалина=galyna Соломія=solomiia",
        "Шевчук=shevchuk Ткаченко=tkachenko Їленко=yilenko Ґонта=gonta Мар'яненко=marianenko"),
    "greek": (3, False, " ",
        "Γιώργος=giorgos Ελένη=eleni Θανάσης=thanasis Ουρανία=ourania Χρήστος=christos",
        "Παπαγεωργίου=papageorgiou Οικονόμου=oikonomou Αναγνώστου=anagnostou Ψαρρού=psarrou Ξενοφώντος=xenofontos"),
    "arabic": (5, False, " ",
        "محمد=mohammed فاطمة=fatima يوسف=youssef مريم=maryam عبدالرحمن=abdulrahman زينب=zaynab خالد=khalid",
        "الحسيني=alhusseini المصري=almasri بنعلي=benali القحطاني=alqahtani السعدي=alsaadi حدّاد=haddad"),
    "persian": (2, False, " ",
        "پریسا=parisa بهرام=bahram ژاله=zhaleh کیوان=keyvan",
        "چگینی=chegini گلستانی=golestani پهلوان=pahlavan رضایی=rezaei"),
    "hebrew": (2, False, " ",
        "נועה=noa יִצְחָק=yitzhak שירה=shira אביגיל=avigail דוד=david",
        "כהן=cohen לוי=levi מזרחי=mizrahi בן־דוד=bendavid פרידמן=friedman"),
    "hindi": (4, False, " ",
        "प्रिया=priya अर्जुन=arjun लक्ष्मी=lakshmi विक्रम=vikram श्रेया=shreya कृष्ण=krishna",
        "शर्मा=sharma पटेल=patel चौधरी=chaudhary त्रिपाठी=tripathi श्रीवास्तव=srivastava"),
    "bengali": (2, False, " ",
        "অনিন্দিতা=anindita সৌরভ=sourav তাসনিম=tasnim",
        "চক্রবর্তী=chakraborty রহমান=rahman মুখোপাধ্যায়=mukhopadhyay"),
    "tamil": (2, False, " ",
        "கவிதா=kavitha முருகன்=murugan தமிழ்ச்செல்வி=tamilselvi",
        "சுப்பிரமணியம்=subramaniam இளங்கோவன்=elangovan ராமசாமி=ramasamy"),
    "chinese": (5, True, "",
        "伟=wei 秀英=xiuying 子涵=zihan 建国=jianguo 雨桐=yutong 志強=zhiqiang 梓萱=zixuan 䶮=yan",
        "王=wang 李=li 歐陽=ouyang 張=zhang 刘=liu 陳=chen 诸葛=zhuge 趙=zhao"),
    "japanese": (4, True, " ",
        "陽菜=haruna 健太郎=kentaro さくら=sakura 蓮=ren みゆき=miyuki タカシ=takashi 𠮷乃=yoshino",
        "佐藤=sato 髙橋=takahashi 渡邊=watanabe 鈴木=suzuki 長谷川=hasegawa 五十嵐=igarashi"),
    "korean": (4, True, "",
        "민준=minjun 서연=seoyeon 지훈=jihun 하은=haeun 도윤=doyun 예진=yejin",
        "김=kim 이=lee 박=park 최=choi 남궁=namgung 황보=hwangbo"),
    "thai": (2, False, " ",
        "สมชาย=somchai กัญญารัตน์=kanyarat ธนพล=thanapon พิมพ์ชนก=pimchanok",
        "ศรีสุข=srisuk จันทร์เพ็ญ=chanphen วงศ์สวัสดิ์=wongsawat เก่งกล้า=kengkla"),
    "amharic": (2, False, " ",
        "አበበ=abebe ትዕግስት=tigist ሰላማዊት=selamawit",
        "ከበደ=kebede ተስፋዬ=tesfaye ወልደማርያም=woldemariam"),
    "armenian": (1, False, " ",
        "Արամ=aram Անահիտ=anahit", "Պետրոսյան=petrosyan Հովհաննիսյան=hovhannisyan"),
    "georgian": (1, False, " ",
        "ნინო=nino გიორგი=giorgi", "ბერიძე=beridze ჭავჭავაძე=chavchavadze"),
}

US_PLACES = [  # city, state, first ZIP digits, telephone area code
    ("Chicago", "IL", "606", "312"), ("Springfield", "IL", "627", "217"), ("Houston", "TX", "770", "713"),
    ("Fresno", "CA", "937", "559"), ("Oakland", "CA", "946", "510"), ("Columbus", "OH", "432", "614"),
    ("Newark", "NJ", "071", "973"), ("Tampa", "FL", "336", "813"), ("Tucson", "AZ", "857", "520"),
    ("Portland", "OR", "972", "503"), ("St. Paul", "MN", "551", "651"), ("Memphis", "TN", "381", "901"),
    ("Lowell", "MA", "018", "978"), ("Provo", "UT", "846", "801"), ("Albuquerque", "NM", "871", "505"),
]
US_STREETS = ["Maple Avenue", "Harbor View Road", "W. 47th Street", "Old Mill Lane", "Martin Luther King Jr. Blvd",
              "Juniper Court", "County Road 12", "E. Sycamore Street", "Prairie Wind Drive", "Foundry Row"]
EU_PLACES = [
    ("{n} rue des Tilleuls, 6900{d} Lyon, France", "+33 6 39 98 {a:02d} {b:02d}"),
    ("{n} boulevard de la Liberté, 5900{d} Lille, France", "+33 1 99 00 {a:02d} {b:02d}"),
    ("Lindenstraße {n}, 1096{d} Berlin, Deutschland", "+49 30 23125 {c:03d}"),
    ("Königsallee {n}b, 4021{d} Düsseldorf, Deutschland", "+49 171 39200{a:02d}"),
    ("{n} Ormond Quay, Dublin {d}, Ireland", "+353 20 91{e} {f:04d}"),
    ("Västra Hamngatan {n}, 411 1{d} Göteborg, Sverige", "+46 70 174 06 {s:02d}"),
]


def weighted(rng, table):
    return rng.choices(list(table), weights=list(table.values()))[0]


def name_and_mailbox(rng):
    _, family_first, separator, given_names, family_names = POOLS[
        rng.choices(list(POOLS), weights=[pool[0] for pool in POOLS.values()])[0]]
    given, family = (rng.choice(names.split()).partition("=") for names in (given_names, family_names))
    order = (family, given) if family_first else (given, family)
    latin = [(latin or native).lower().replace("'", "") for native, _, latin in (given, family)]
    return separator.join(native for native, _, _ in order), rng.choice([".", "_", ""]).join(latin)


def us_home(rng):
    city, state, zip_start, area_code = rng.choice(US_PLACES)
    unit = rng.choice(["", "", "", f", Apt {rng.randint(1, 48)}", f", Unit {rng.choice('ABCDEF')}", f" #{rng.randint(2, 9)}"])
    address = f"{rng.randint(3, 9899)} {rng.choice(US_STREETS)}{unit}, {city}, {state} {zip_start}{rng.randint(1, 49):02d}"
    number = rng.randint(100, 199)
    phone = rng.choice([f"+1 {area_code} 555 0{number}", f"({area_code}) 555-0{number}", f"{area_code}-555-0{number}"])
    return address, phone


def eu_home(rng):
    address, phone = rng.choice(EU_PLACES)
    digits = {"n": rng.randint(1, 180), "d": rng.randint(1, 9), "a": rng.randint(0, 99), "b": rng.randint(0, 99),
              "c": rng.randint(0, 999), "e": rng.randint(0, 9), "f": rng.randint(0, 9999), "s": rng.randint(5, 99)}
    return address.format(**digits), phone.format(**digits)


def never_issued_ssn(rng):
    area = rng.choice([0, 666, rng.randint(900, 999)])
    group = rng.randint(10, 49) if area >= 900 else rng.randint(1, 99)  # 9xx-50 and up are tax numbers
    return f"{area:03d}-{group:02d}-{rng.randint(1, 9999):04d}"


def uuid_v7(rng, unix_ms):
    value = unix_ms << 80 | 0x7 << 76 | rng.getrandbits(12) << 64 | 0b10 << 62 | rng.getrandbits(62)
    text = f"{value:032x}"
    return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))


def worker(rng, unix_ms, serial):
    eu_resident = rng.random() < 0.12
    address, phone = eu_home(rng) if eu_resident else us_home(rng)
    name, mailbox = name_and_mailbox(rng)
    born = YOUNGEST_BORN - datetime.timedelta(days=rng.randint(0, 49 * 365))
    row = {
        "candidate_id": uuid_v7(rng, unix_ms),
        "vertical": weighted(rng, VERTICALS),
        "consent_status": weighted(rng, CONSENTS),
        "retention_period_days": rng.choice([365, 540, 730, 730, 1095]),
        "eu_resident": "true" if eu_resident else "false",
        "name": name,
        "email": f"{mailbox}{serial}@example.{rng.choice(['com', 'org', 'net'])}",
        "phone": phone,
        "address": address,
        "ssn": "" if eu_resident else never_issued_ssn(rng),
        "dob": born.isoformat(),
    }
    for field, share_collected in {"phone": 0.97, "address": 0.9, "ssn": 0.7, "dob": 0.85}.items():
        if rng.random() > share_collected:
            row[field] = ""  # not collected
    return row


def make():
    rng = random.Random(SEED)
    unix_ms = int(FIRST_REGISTRATION.timestamp() * 1000)
    out = io.StringIO(newline="")
    writer = csv.DictWriter(out, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for serial in range(1, COUNT + 1):
        unix_ms += rng.randint(20_000, 5_000_000)
        writer.writerow(worker(rng, unix_ms, serial))
    return out.getvalue().encode()


if __name__ == "__main__":
    content = make()
    if sys.argv[1:] == ["--check"]:
        if OUTPUT.read_bytes() != content:
            sys.exit(f"{OUTPUT} is not what this script makes")
    elif sys.argv[1:]:
        sys.exit(__doc__)
    else:
        OUTPUT.parent.mkdir(exist_ok=True)
        OUTPUT.write_bytes(content)
