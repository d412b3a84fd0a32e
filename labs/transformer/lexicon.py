"""Vocabulary of the English-Chinese grammar (`labs.transformer.grammar`), the most frequent words first.

In a table, `|` separates the entries, a space the fields of an entry, and `_` is a space inside a field.
"""

from typing import NamedTuple


class Noun(NamedTuple):
    """A noun with its plural, and the measure word between a Chinese number and the noun."""

    en: str
    plural: str
    zh: str
    measure: str
    kind: str


class Verb(NamedTuple):
    """Forms of an English verb, and its Chinese verb for each kind of object; `-` is the kind of no object."""

    base: str
    third: str
    past: str
    participle: str
    ing: str
    zh: dict[str, str]


def _table(text: str) -> list[list[str]]:
    return [[field.replace("_", " ") for field in entry.split()] for entry in text.split("|")]


def plural(word: str) -> str:
    """Regular plural of a noun; by the same rule, third person singular of a verb."""
    if word.endswith(("s", "sh", "ch", "x", "o")):
        return word + "es"
    return word[:-1] + "ies" if word.endswith("y") and word[-2] not in "aeou" else word + "s"


# English (with an irregular plural after a slash), Chinese, measure word.
_NOUNS = {
    "person": (
        "teacher 老師 位|student 學生 個|child/children 孩子 個|man/men 男人 個|woman/women 女人 個|"
        "friend 朋友 個|doctor 醫生 位|scientist 科學家 位|boy 男孩 個|girl 女孩 個|writer 作家 位|"
        "farmer 農夫 個|neighbour 鄰居 個|engineer 工程師 位|nurse 護士 位|soldier 士兵 個|lawyer 律師 位|"
        "artist 藝術家 位|driver 司機 個|cook 廚師 位|policeman/policemen 警察 個|reporter 記者 位|"
        "judge 法官 位|tourist 遊客 個|thief/thieves 小偷 個|guest 客人 位|merchant 商人 個|musician 音樂家 位|"
        "king 國王 位|dancer 舞者 位|poet 詩人 位|carpenter 木匠 個|hunter 獵人 個|professor 教授 位|"
        "stranger 陌生人 個|secretary 祕書 位"
    ),
    "animal": (
        "dog 狗 隻|cat 貓 隻|bird 鳥 隻|horse 馬 匹|cow 牛 頭|sheep/sheep 羊 隻|rabbit 兔子 隻|"
        "elephant 大象 頭|monkey 猴子 隻|tiger 老虎 隻|snake 蛇 條|duck 鴨子 隻|pig 豬 頭|bear 熊 隻|"
        "frog 青蛙 隻|wolf/wolves 狼 匹|mouse/mice 老鼠 隻"
    ),
    "text": (
        "book 書 本|letter 信 封|story 故事 個|newspaper 報紙 份|poem 詩 首|report 報告 份|magazine 雜誌 本|"
        "novel 小說 本|dictionary 字典 本|diary 日記 本|contract 合約 份|email 電子郵件 封"
    ),
    "thing": (
        "car 車 輛|picture 畫 幅|phone 手機 支|chair 椅子 把|computer 電腦 臺|bicycle 腳踏車 輛|pen 筆 支|"
        "map 地圖 張|box 箱子 個|key 鑰匙 把|camera 相機 臺|ticket 票 張|umbrella 雨傘 把|knife/knives 刀 把|"
        "cup 杯子 個|lamp 燈 盞|clock 時鐘 個|bag 袋子 個|mirror 鏡子 面|boat 船 艘|bottle 瓶子 個|"
        "candle 蠟燭 支|flag 旗子 面|stone 石頭 塊|blanket 毯子 條|basket 籃子 個|ladder 梯子 把|bowl 碗 個|"
        "rope 繩子 條|coin 硬幣 枚|machine 機器 臺|gift 禮物 份"
    ),
    "food": (
        "apple 蘋果 顆|cake 蛋糕 塊|fish/fish 魚 條|egg 蛋 顆|orange 橘子 顆|noodle 麵 碗|banana 香蕉 根|"
        "dumpling 餃子 顆|sandwich 三明治 個|potato 馬鈴薯 顆|watermelon 西瓜 顆|biscuit 餅乾 片|peach 桃子 顆|"
        "carrot 紅蘿蔔 根"
    ),
    "clothes": (
        "coat 外套 件|shirt 襯衫 件|skirt 裙子 條|dress 洋裝 件|sweater 毛衣 件|uniform 制服 套|raincoat 雨衣 件"
    ),
    "accessory": "hat 帽子 頂|watch 手錶 支|ring 戒指 枚|mask 面具 副|necklace 項鍊 條|glove 手套 隻",
    "instrument": "piano 鋼琴 架|guitar 吉他 把|harp 豎琴 架",
    "vehicle": "bus 公車 輛|train 火車 列|plane 飛機 架|taxi 計程車 輛|ship 輪船 艘",
    "shop": (
        "shop 商店 家|restaurant 餐廳 家|company 公司 家|bookshop 書店 家|hotel 旅館 家|factory 工廠 家|bank 銀行 家"
    ),
    "entrance": "door 門 扇|window 窗戶 扇|gate 大門 扇|drawer 抽屜 個",
    "show": "film 電影 部|play 戲 齣|concert 音樂會 場|programme 節目 個|exhibition 展覽 場",
    "game": "football_match 足球賽 場|tennis_match 網球賽 場|basketball_match 籃球賽 場|volleyball_match 排球賽 場",
    "plant": "tree 樹 棵|flower 花 朵|rose 玫瑰 朵|pine 松樹 棵|bamboo/bamboos 竹子 根",
    "idea": (
        "question 問題 個|plan 計畫 個|idea 主意 個|secret 祕密 個|reason 理由 個|method 方法 種|dream 夢 個|"
        "rule 規則 條|problem 難題 個|mistake 錯誤 個|law 法律 條|theory 理論 種"
    ),
    "building": (
        "house 房子 棟|school 學校 所|hospital 醫院 所|library 圖書館 座|museum 博物館 座|bridge 橋 座|"
        "temple 廟 座|tower 塔 座|castle 城堡 座|palace 宮殿 座|church 教堂 座|station 車站 座"
    ),
}
NOUNS: dict[str, list[Noun]] = {
    kind: [
        Noun(en.split("/")[0], en.split("/")[1] if "/" in en else plural(en), zh, measure, kind)
        for en, zh, measure in _table(text)
    ]
    for kind, text in _NOUNS.items()
}

# Base form, past, participle, -ing form; then Chinese by kind of object: `wear` is 穿 for a coat but 戴 for a hat.
_VERBS = (
    "see saw seen seeing person=看見,animal=看見,thing=看見,show=看,building=看見,plant=看見|"
    "buy bought bought buying thing=買,food=買,clothes=買,text=買,accessory=買,instrument=買|"
    "like liked liked liking person=喜歡,animal=喜歡,text=喜歡,show=喜歡,food=喜歡,idea=喜歡,plant=喜歡,shop=喜歡|"
    "read read read reading text=讀|write wrote written writing text=寫|eat ate eaten eating food=吃|"
    "find found found finding thing=找到,animal=找到,text=找到,person=找到,idea=想出,accessory=找到|"
    "wear wore worn wearing clothes=穿,accessory=戴|play played played playing instrument=彈,game=打|"
    "know knew known knowing person=認識,idea=知道,building=認得|"
    "take took taken taking vehicle=搭,thing=拿走,food=拿走|"
    "open opened opened opening entrance=打開,shop=開設,text=翻開|"
    "close closed closed closing entrance=關上,shop=停辦|"
    "draw drew drawn drawing animal=畫,person=畫,building=畫,plant=畫|"
    "watch watched watched watching show=觀賞,game=觀看,animal=觀察,person=監視|"
    "help helped helped helping person=幫助,animal=救助|"
    "visit visited visited visiting person=拜訪,building=參觀,shop=光顧|"
    "make made made making food=做,clothes=縫,idea=訂,thing=造|"
    "lose lost lost losing game=輸掉,thing=弄丟,accessory=弄丟,text=弄丟|"
    "raise raised raised raising animal=飼養,idea=提出,person=撫養|"
    "sell sold sold selling thing=賣,food=賣,building=賣,vehicle=賣|"
    "carry carried carried carrying thing=搬,animal=抱,person=背|run ran run running shop=經營,-=跑步|"
    "catch caught caught catching animal=抓住,vehicle=趕上,person=逮捕|"
    "understand understood understood understanding idea=了解,text=看懂,person=體諒|"
    "plant planted planted planting plant=種|build built built building building=蓋,thing=組裝|"
    "borrow borrowed borrowed borrowing text=借,thing=借,vehicle=租|"
    "break broke broken breaking thing=打破,idea=違反,entrance=撞壞|"
    "repair repaired repaired repairing thing=修理,instrument=修理,building=整修|"
    "clean cleaned cleaned cleaning thing=擦,building=打掃,clothes=洗|"
    "steal stole stolen stealing thing=偷,accessory=偷,text=偷|meet met met meeting person=遇見|"
    "feed fed fed feeding animal=餵|praise praised praised praising person=稱讚,text=讚美|"
    "cut cut cut cutting plant=砍,food=切,thing=剪|explain explained explained explaining idea=解釋,text=講解|"
    "describe described described describing person=描述,show=描述,idea=描述|"
    "translate translated translated translating text=翻譯|"
    "discuss discussed discussed discussing idea=討論,show=評論|"
    "drive drove driven driving vehicle=開,animal=趕|hide hid hidden hiding thing=藏,accessory=藏,person=收留|"
    "solve solved solved solving idea=解決|sleep slept slept sleeping -=睡覺|work worked worked working -=工作|"
    "sing sang sung singing -=唱歌|swim swam swum swimming -=游泳|cry cried cried crying -=哭|"
    "laugh laughed laughed laughing -=笑|dance danced danced dancing -=跳舞|rest rested rested resting -=休息|"
    "wait waited waited waiting -=等候|smoke smoked smoked smoking -=抽菸"
)
VERBS = [
    Verb(base, plural(base), past, participle, ing, dict(pair.split("=") for pair in kinds.split(",")))
    for base, past, participle, ing, kinds in _table(_VERBS)
]

STATIVE_VERBS = ("like", "know")
"""Stative verbs, which have no aspect particle in Chinese."""

# English, Chinese, comparative; by the kind of noun that they describe.
_ADJECTIVES = {
    "person": (
        "young 年輕 younger|old 老 older|tall 高 taller|happy 快樂 happier|clever 聰明 cleverer|"
        "famous 有名 more_famous|tired 疲倦 more_tired|poor 貧窮 poorer|rich 富有 richer|kind 善良 kinder|"
        "brave 勇敢 braver|lazy 懶惰 lazier|strange 古怪 stranger|patient 有耐心 more_patient|"
        "polite 有禮貌 more_polite|lonely 寂寞 lonelier"
    ),
    "animal": (
        "big 大 bigger|small 小 smaller|hungry 飢餓 hungrier|old 老 older|clever 機靈 cleverer|"
        "wild 野生 wilder|lazy 懶惰 lazier"
    ),
    "thing": (
        "new 新 newer|old 舊 older|big 大 bigger|small 小 smaller|expensive 昂貴 more_expensive|"
        "cheap 便宜 cheaper|beautiful 漂亮 more_beautiful|heavy 沉重 heavier|light 輕巧 lighter|red 紅 redder|"
        "blue 藍 bluer|strange 奇怪 stranger"
    ),
    "idea": (
        "new 新 newer|old 古老 older|big 重大 bigger|simple 簡單 simpler|difficult 困難 more_difficult|"
        "important 重要 more_important|interesting 有趣 more_interesting|strange 奇怪 stranger|"
        "dangerous 危險 more_dangerous"
    ),
    "food": (
        "fresh 新鮮 fresher|delicious 好吃 more_delicious|sweet 甜 sweeter|hot 燙 hotter|cheap 便宜 cheaper|"
        "big 大 bigger"
    ),
    "building": (
        "old 古老 older|new 新 newer|tall 高大 taller|beautiful 美麗 more_beautiful|famous 著名 more_famous|"
        "quiet 安靜 quieter"
    ),
}
ADJECTIVES = {kind: _table(text) for kind, text in _ADJECTIVES.items()}
ADJECTIVES |= {kind: ADJECTIVES["thing"] for kind in NOUNS if kind not in ADJECTIVES}
ADJECTIVES["text"] = ADJECTIVES["show"] = ADJECTIVES["idea"]

NAMES = _table(
    "john 約翰|mary 瑪麗|peter 彼得|anna 安娜|david 大衛|lily 莉莉|tom 湯姆|helen 海倫|george 喬治|"
    "alice 愛麗絲|martin 馬丁|sophie 蘇菲|oscar 奧斯卡|emma 艾瑪|victor 維克多|nina 妮娜"
)
# Subject, object, possessive, Chinese, form of `be`, past of `be`, whether the verb takes no -s.
PRONOUNS = _table(
    "i me my 我 am was|you you your 你 are were|he him his 他 is was|she her her 她 is was|"
    "we us our 我們 are were|they them their 他們 are were"
)
NUMBERS = _table(
    "two 兩|three 三|four 四|five 五|six 六|seven 七|eight 八|nine 九|ten 十|twelve 十二|fifteen 十五|"
    "twenty 二十|thirty 三十|a_hundred 一百"
)
QUANTITIES = _table("many 很多|some 一些|all_the 所有的|a_few 幾")
ADVERBS = _table(
    "quickly 很快地|slowly 慢慢地|carefully 小心地|quietly 悄悄地|happily 高興地|secretly 偷偷地|"
    "angrily 生氣地|patiently 耐心地|together 一起|alone 獨自"
)
# English preposition, Chinese localiser after the place.
PREPOSITIONS = _table("in 裡|near 附近|behind 後面|in_front_of 前面|next_to 旁邊|outside 外面")
ROOMS = _table(
    "kitchen 廚房|garden 花園|classroom 教室|room 房間|office 辦公室|park 公園|village 村子|city 城市|"
    "market 市場|forest 森林|street 街道|theatre 戲院|laboratory 實驗室|mountain 山|harbour 港口|desert 沙漠|"
    "cave 山洞|yard 院子"
)
SURFACES = _table("table 桌子|floor 地板|bed 床|roof 屋頂|wall 牆|shelf 架子|sofa 沙發|desk 書桌|bench 長椅|island 島")
TIMES = {
    "past": _table(
        "yesterday 昨天|last_week 上個星期|last_year 去年|this_morning 今天早上|two_days_ago 兩天前|"
        "last_night 昨天晚上|a_long_time_ago 很久以前|last_month 上個月|three_years_ago 三年前|"
        "the_day_before_yesterday 前天"
    ),
    "future": _table(
        "tomorrow 明天|next_week 下個星期|next_year 明年|tonight 今天晚上|soon 不久|next_month 下個月|"
        "in_three_days 三天後|the_day_after_tomorrow 後天"
    ),
    "habit": _table(
        "every_day 每天|every_week 每個星期|often 常常|always 總是|sometimes 有時候|every_morning 每天早上|"
        "never 從來不|every_year 每年|seldom 很少|usually 通常"
    ),
}  # fmt: skip
HOURS = _table("one 一|two 兩|three 三|four 四|five 五|six 六|seven 七|eight 八|nine 九|ten 十|eleven 十一")
PARTS_OF_DAY = _table("in_the_morning 早上|in_the_afternoon 下午|in_the_evening 晚上")
MODALS = _table("can 可以|must 必須|should 應該|may 可能|cannot 不能|should_not 不應該")
# Third person, base, past, Chinese: verbs with a clause as their object.
SPEECH_VERBS = _table(
    "says say said 說|thinks think thought 認為|knows know knew 知道|hopes hope hoped 希望|"
    "believes believe believed 相信|forgets forget forgot 忘記|hears hear heard 聽說|"
    "discovers discover discovered 發現|remembers remember remembered 記得"
)
CONJUNCTIONS = _table(
    "because 因為 所以|if 如果 那麼|although 雖然 但是|when ~ 的時候|before ~ 之前|after ~ 之後|unless 除非 否則"
)
