/* SPDX-License-Identifier: Apache-2.0 */
#include "hash/formats.h"

#include <errno.h>
#include <stdlib.h>

#include "test.h"
#include "util/cleanup.h"

/*
 * Made with the reference implementation of ASC MHL and hashlib. Lengths around the switches of
 * XXH3 (3, 8, 16, 128, 240, 1024), and inputs whose values begin with zeros ('1' in C4). No text:
 * byte i is i mod 251.
 */
static const struct {
	const char *text;
	size_t length;
	const char *values[HASH_FORMATS];
} vectors[] = {
	{ "",
	  0,
	  { "c459dsjfscH38cYeXXYogktxf4Cd9ibshE3BHUo6a58hBXmRQdZrAkZzsWcbWtDg5oQstpDuni4Hirj75GEmTc"
	    "1sFT",
	    "d41d8cd98f00b204e9800998ecf8427e", "da39a3ee5e6b4b0d3255bfef95601890afd80709",
	    "99aa06d3014798d86001c324468d497f", "2d06800538d394c2", "ef46db3751d8e999",
	    "02cc5d05" } },
	{ "a",
	  1,
	  { "c41dF3bGD8iqVcrJJQpS6fEsVgg9iKeNHGCCEhK2C2cGYRm2dx8xeFU1wKbkBsCWdefaz82KeyfbBf8Pfkpm4C"
	    "56cc",
	    "0cc175b9c0f1b6a831c399e269772661", "86f7e437faa5a7fce15d1ddcb9eaeaea377667b8",
	    "a96faf705af16834e6c632b61e964e1f", "e6c632b61e964e1f", "d24ec4f1a98c6e5b",
	    "550d7456" } },
	{ "abc",
	  3,
	  { "c45S4rnaTNWonxss1u8LzsaJdEph1AJhWUF4sh2waXKMsutyfAxg4ybUeuXVWS9HdNcEypmeXn8FZGonD4w1rj"
	    "9DZp",
	    "900150983cd24fb0d6963f7d28e17f72", "a9993e364706816aba3e25717850c26c9cd0d89d",
	    "06b05ab6733a618578af5f94892f3950", "78af5f94892f3950", "44bc2cf5ad770999",
	    "32d153ff" } },
	{ "abcde",
	  5,
	  { "c43iBCuwmnzwKtHgzDrw59KY9ZDyBQQfa1nyUWfz8pMNJEfStXiRqG9HLqjGVwj21arJsmTvCdfYR4nUJxcnCP"
	    "Qgsz",
	    "ab56b4d92b40713acc5af89985d4b786", "03de6c570bfe24bfc328ccd7ca46b76eadaf4334",
	    "3043c78169f25c3f97d5a48ef320eec2", "55c65158ee9e652d", "07e3670c0c8dc7eb",
	    "9738f19b" } },
	{ "def\n",
	  4,
	  { "c42M7f1VP8tBUQZ849yALEdz6BnCR2W4K7YczkxnCxmNrWSMNkSCcb4WUFygCzo4ub3AQY5Zt1CdTpaxxcrUBJ"
	    "E4Hx",
	    "614dd0e977becb4c6f7fa99e64549b12", "7b18d017f89f61cf17d47f92749ea6930a3f1deb",
	    "1064874a071b0e5ebf280cf748ade959", "4efdb9f79f57a82b", "7680e5f98f4a80fd",
	    "0019dfde" } },
	{ NULL,
	  1,
	  { "c44gXrHw1dqafC4Vo2RTmHpRK3d3x8aYXLg81BtsMBWrWgQu9n45JWDMTM5yGhR1Ug1Reo4sFi4apJe9Zmoexx"
	    "9Tc9",
	    "93b885adfe0da089cdf634904fd59f71", "5ba93c9db0cff93f52b521d7420e43f6eda2784f",
	    "a6cd5e9392000f6ac44bdff4074eecdb", "c44bdff4074eecdb", "e934a84adb052768",
	    "cf65b03e" } },
	{ NULL,
	  3,
	  { "c43a22fNLrYuAMPCjRULTs3KTgQ7sBZhdWWFVGNJHm8thekxeSfxu4hLWauuJ11NZZoLtEnEGmq9DdTmsvFWxo"
	    "1uF2",
	    "b95f67f61ebb03619622d798f45fc2d3", "0c7a623fd2bbc05b06423be359e4021d36e721ad",
	    "e3b55f57945a17cf5f4299fc161c9cbb", "5f4299fc161c9cbb", "e5c7bb4533bc65dd",
	    "663e9a55" } },
	{ NULL,
	  4,
	  { "c42aLtcv5TC2nbcD2oth5zj9M3uK2DiQAkhBnTQC35gWLgH2RaGmBLq81CeLVsPBEToJpLFeoYgqxaGLzGEMMa"
	    "Srsq",
	    "37b59afd592725f9305e484a5d7f5168", "a02a05b025b928c039cf1ae7e8ee04e7c190c0db",
	    "eb70bf5fc779e9e6a6111d53e80a3db5", "60dab036a58211f2", "ffced8604453cc1e",
	    "80691e66" } },
	{ NULL,
	  8,
	  { "c43mKe7oPZMELoP7p8drj9rHgbhJB2PHbJSSYdSQ8o9exze1ff2whXrrgUhRRdNn7kbMTaFmFFbWWg8UbcPJT3"
	    "WW6d",
	    "3677509751ccf61539174d2b9635a7bf", "67423ebfa8454f19ac6f4686d6c0dc731a3ddd6b",
	    "e1e4432a62217fe4cfd50c61c8bb98c1", "3a1c2d7c85af88f8", "884a173614b81b8d",
	    "a3ad90b9" } },
	{ NULL,
	  9,
	  { "c43ncY1hQMKGZDEvmas3HCaTz21H1u7YaVuaXR27BKJu8xTXynY4jYuhtSQ7gWnJLex3WK3W2MbdfbnWepojac"
	    "iR34",
	    "a6e7d3b46fdfaf0bde2a1f832a00d2de", "63bf60c7105a07a2b125bbf89e61abdabc6978c2",
	    "16c769d83e4aebce907931979dca3746", "e9612598145bb9dc", "67d85784a7c78c5b",
	    "3f5eb53f" } },
	{ NULL,
	  16,
	  { "c45NXmfz4aBphohQUitAxWmdvH4HJ6dYKa1u64BoJ6pM798xk9HMQDuU3yVFdk5SrupN6tChEPQcgZHTjGycrT"
	    "mX9U",
	    "1ac1ef01e96caf1be0d329331a4fc2a8", "56178b86a57fac22899a9964185c2cc96e7da589",
	    "72950631827607e2842812cc870dcae2", "8355e3a6f61770db", "44b6ef2fb84169f7",
	    "b72837f4" } },
	{ NULL,
	  17,
	  { "c43ULKsJDCGvGtHvZ7nbtrxBR1jC8Fib6JCqTvyXcuAp5kBysG8o3XgpBXQXTGgJMx5TazQ4rsFN3dfFQ7hb1G"
	    "udfa",
	    "1bdd36b0a024c90db383512607293692", "0a0315ec7b1e22a79fc862edf79bda2fc01669e3",
	    "685bc458b37d057fc06e233df7729217", "9ef341a99de37328", "5603e60c527599b6",
	    "7c77adc2" } },
	{ NULL,
	  32,
	  { "c42EQpAUUa44mrZxqFzn1kdZWUu18GKeCAMUyxDTUqSaom463LdQTtKyMANLkiuXarj4w8o8ERCwSoyfkSxXSc"
	    "mdxL",
	    "b4ffcb23737cec315a4a4d1aa2a620ce", "ae5bd8efea5322c4d9986d06680a781392f9a642",
	    "25e7c9b3424ceed2457d9566b6fcd697", "3523581fe96e4c05", "cbf59c5116ff32b4",
	    "830741c1" } },
	{ NULL,
	  128,
	  { "c41bnfufBXeDCrdTiFFy2cj5VjE9YJgK2t4xHYW2buAs2poeJd3cmbP5fcvWUv9xdrQ6YUEoKdH7L6k3CXm46u"
	    "mKeE",
	    "37eff01866ba3f538421b30b7cbefcac", "e6434bc401f98603d7eda504790c98c67385d535",
	    "14792fc3af88dc6c05321a0b64d67b41", "85c6174c7ff4c46b", "7a7fe14647b9ab92",
	    "6d6194b7" } },
	{ NULL,
	  129,
	  { "c41bLsi81GTTvsqjjoNELmyiTnx76bgm5wkcJc3sNrhhQzohjGAku4rMNYDfgg8eLbL8BvuENaoXymYkhBsf6s"
	    "2iLN",
	    "46f986692847558fc38b0cece591c20f", "3352e41cc30b40ae80108970492b21014049e625",
	    "dd5e74ac6b45f54ebc30b63382b09a3b", "ec7642b431ba3e5a", "0ba25dfd6e891fcf",
	    "6572cb97" } },
	{ NULL,
	  240,
	  { "c43AZm1vgBkRXrhabqqfpgv87QBwUHxFeoq8gA5nL7wF65YiPQaWYmuhtRJtSfVYsNZtWF9pP3P5phPKVykPY5"
	    "m1rC",
	    "ddabc96224d832fde27d53c83270c3f1", "f7b8e5e76e6b4cb3dfa7af7070d5560400822b65",
	    "65b5be86da5540e7c92b68e16f83bbb6", "375a384d957fe865", "012947f0da6a27b1",
	    "1fd0fbb0" } },
	{ NULL,
	  241,
	  { "c42b5Ab6dsobt4FrTtzjCqHT46bcPyB8V38LY1Vk6fr7uX9t1SxvoYoH5VJP8ksXpPisUizrWTZ78X9dsgau7u"
	    "2PT8",
	    "267a256d457a3856bbfce6554c1566df", "54717f94e8f3ded40b4cc1a470eacb25cb10136f",
	    "1da1cb61bcb8a2a102e8cd95421c6d02", "02e8cd95421c6d02", "8d643f23bf2808e1",
	    "5b9a61e5" } },
	{ NULL,
	  1023,
	  { "c44tQLFAEpKK9gwFUpbEwMfAmGjSsuwKeA2QHir9QAGFAWqtL1M6vNw5LJDvE4BEVnqMSo9MRxF2vrwETVSLuk"
	    "PkxQ",
	    "7437d7a881387db7c41cf6930ab5e35d", "1d58257e7e9cecee00473911023732e408e9bee3",
	    "4325711b0ed4d742d3d91d80ac495685", "d3d91d80ac495685", "d66738f081c25cf4",
	    "cc664d02" } },
	{ NULL,
	  1024,
	  { "c446ggmMuvMjX8j9XFJR4S97upWU3aZN9Nn9ced8QBZCBn6Q8zeuSa25eWqzRPa9TmQT17WV6n27kLpHqso2wa"
	    "mKk9",
	    "9ee0a0e0c0bc0f1ff29d663d1fdf0743", "0ac28084ff74933d05123496dafd3791684d9b53",
	    "d0ac1f7b93bf57b9e5d78bafa45b2aa5", "e5d78bafa45b2aa5", "138e26c65048ce29",
	    "69dd7c7e" } },
	{ NULL,
	  1025,
	  { "c41d1JoztKnRvqW282kxdRePeUXe6YBKwyqc24Rgs8Z7u8QiNBSBoGGqhp42235nt1fdp2CtR5n5sv6txJUFfk"
	    "M6eT",
	    "3f3789452b88cb32b8cbfbafe715e29a", "ca9fdc040579afc74c0e6314fee7af12bd5c4284",
	    "2882ebca04ec915ce95c42288f28186e", "e95c42288f28186e", "cfd73aedd2d6a39d",
	    "d6a1188a" } },
	{ NULL,
	  4096,
	  { "c42BqsUX7JofwRYZeM8VFKJC5VDNpknMybBLVoi9XDoNdvbck32sEnejFpUzA4bppKpWYkfAUn2Z4SwFj29hTd"
	    "f16H",
	    "a0c16616c91907bd14e999986cf822d5", "92ca8f2b4163e64a1b53e0fde263ad56cbdb75fc",
	    "e12cd72144990fe57135ffa504f1bc71", "7135ffa504f1bc71", "122a8c8d994ad3ec",
	    "68d54c6c" } },
	{ NULL,
	  65536,
	  { "c453Gr1BsJEpyMS4E4qvJVHzy8tcpx7pvcQvCJMiS4KWR634so9H7AJnKP4ZA33iz85GXwD1AztW4b53bToh7i"
	    "LKuD",
	    "9cc60713923528a1dd94e1c1ab0ebc9e", "fefb71740a82b94a2da3bcd2fd72fc64a7fb8666",
	    "f5e7bc5d3d8675bfaaae63800707a868", "aaae63800707a868", "316c40df46fe2584",
	    "11fc918e" } },
	{ NULL,
	  1000000,
	  { "c44xvSVGhbhftGZgDigzFCN16eGjRuj7PwXWdVsrfVNYJ5zycNVSwSV3wTLnHhZykMMCAQPpuziYUUpLYik7TZ"
	    "Lrt6",
	    "35efddb2811ce9ecbdfa17f18472e604", "1f7cafedffb2797c60013e6f95d7763bbc57c1ee",
	    "00d4a9d9f77c7d2ddf99c4163891c544", "df99c4163891c544", "1f19a46656c14355",
	    "55055b16" } },
	{ "61",
	  2,
	  { "c411b3ydC5H2MN5EQBS2qwk3rSAyw2YK21J9njqKtT7AwxLzgcdxsHajuaGkDfwNJsqVWYD2MS3j9DVfnq3Nts"
	    "cjNK",
	    "7f39f8317fbdb1988ef4c628eba02591", "6c1e671f9af5b46d9c1a52067bdf0e53685674f7",
	    "5345b0be4ced19337fa0b4b57772a0f0", "7fa0b4b57772a0f0", "71b330665f61a55c",
	    "7e4b593f" } },
	{ "12372",
	  5,
	  { "c4111U2BfBULAzy6z3ef85YNPEnkBtPj35DpefGRnLKS2iKve5MEXUpbkhRxzkP6jFiAS9JxHrNt2Ch9CeW16G"
	    "Z3zA",
	    "109f71393ae349ba1c51f38d8781c525", "40f40ea6d24a57ffa56d2119eb43cccc22301d10",
	    "d78f5fce55663741c80386969288267e", "e7e3c28f13fcd2d1", "64c41f1c9cf01e36",
	    "e9da4f60" } },
	{ "14754",
	  5,
	  { "c43UZjVPxWyC9ogh6tcXPfgsjmW5nMiQaYzgCZ44h6Wis331iHe5FVjrRBXM4k7UAvSenawz1biyZpxM5vm4iv"
	    "kLFV",
	    "cb0d6d3459c57b7a5c968956b1ecf1e3", "9808949d43f3d7558af6e09c1e91760f8ec13a89",
	    "d1a4a1ba3c32e601e8c1cf50b2e78b11", "1bb9a8d6e6a96345", "000245515fa5fc5d",
	    "ff9a32b9" } },
	{ "1624",
	  4,
	  { "c44FA3YgNuw8NycqWgWK7bjZzsYbtVh7imKv9Dws6ZbjPw5dtXazYbyPgSi7z6Gkwia7uDQV6sTFB4jdeBxqNo"
	    "6vYH",
	    "9327969053c0068dd9e07c529866b94d", "337b1b291a6dda67d019670d8d59d7ad727ecb51",
	    "93340335cb741cdc43657026069f69b2", "00070b727c57632b", "8e0b5a7c0d258d0c",
	    "35ae8678" } },
	{ "1296",
	  4,
	  { "c41LawCUf1RN2rdNYVjwTJDSWTGrZd5HJK7JjNDQgBJnrHM8nGFYyn9AuU6p5p4ThAQnHZiTiBFtCxZ9qM2AzK"
	    "xzP3",
	    "2812e5cf6d8f21d69c91dddeefb792a7", "64c84e952453cd25d3097c7cfb8ba8178a0d109f",
	    "000f60c102db3a8a36d104f5ffbf067e", "61f35a5a31798586", "fa0c14c155aff5f1",
	    "75a8d373" } },
	{ "67058",
	  5,
	  { "c43XqtesDVXtYLgMUYG4ugET5AP9xN24TV3y7EkFqnBn3sUcvVxHuiwMqngygPjQ5qcfgRFhHftEf8g8PMNP6R"
	    "r8GG",
	    "016bf9afdcee6b41e7ecffe4084c3219", "4b11aa52bb0b00c1265e5bf8c1b40ffebfc87086",
	    "9d089f964841941b95b81f1e44f6e8ab", "10a02d8e29411ac7", "47b3d67e30e56703",
	    "00016bb7" } },
};

/* Caller frees. */
static uint8_t *input(size_t i)
{
	uint8_t *bytes = malloc(vectors[i].length + 1);

	for (size_t at = 0; at < vectors[i].length; at++)
		bytes[at] = vectors[i].text ? (uint8_t)vectors[i].text[at] : (uint8_t)(at % 251);
	return bytes;
}

TEST(all_formats_in_one_pass_are_those_of_the_reference)
{
	for (size_t i = 0; i < ARRAY_SIZE(vectors); i++) {
		struct hashes *hashes = hashes_new((1u << HASH_FORMATS) - 1);
		cleanup_free uint8_t *bytes = input(i);
		size_t third = vectors[i].length / 3;

		check(hashes);
		check_int(hashes_update(hashes, bytes, third), 0);
		check_int(hashes_update(hashes, bytes + third, vectors[i].length - third), 0);
		for (size_t format = 0; format < HASH_FORMATS; format++) {
			uint8_t value[HASH_MAX_BYTES];
			char text[HASH_TEXT_SIZE];

			check_int(hashes_final(hashes, format, value), 0);
			hash_text(format, value, text);
			check_str(text, vectors[i].values[format]);
		}
		hashes_free(hashes);
	}
	hashes_free(NULL);
}

TEST(a_text_is_parsed_to_the_bytes_it_was_made_of)
{
	for (size_t i = 0; i < ARRAY_SIZE(vectors); i++) {
		for (size_t format = 0; format < HASH_FORMATS; format++) {
			uint8_t value[HASH_MAX_BYTES];
			char text[HASH_TEXT_SIZE];

			check_int(hash_parse(format, vectors[i].values[format], value), 0);
			hash_text(format, value, text);
			check_str(text, vectors[i].values[format]);
		}
	}
}

TEST(only_a_whole_value_is_parsed)
{
	static const struct {
		enum hash_format format;
		const char *text;
	} bad[] = {
		{ HASH_XXH64, "" },
		{ HASH_XXH64, "07e3670c0c8dc7e" },
		{ HASH_XXH64, "07e3670c0c8dc7ebb" },
		{ HASH_XXH64, "07e3670c0c8dc7eg" },
		{ HASH_XXH64, " 7e3670c0c8dc7eb" },
		{ HASH_MD5, "07e3670c0c8dc7eb" },
		{ HASH_C4, "c4" },
		/* 58^88 - 1 is above 512 bits; 0, O, I and l are no digits. */
		{ HASH_C4, "c4zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz"
			   "zzzzzzzzzzzzzzzzzzzzzz" },
		{ HASH_C4, "c4011111111111111111111111111111111111111111111111111111111111111111"
			   "1111111111111111111111" },
		{ HASH_C4, "d411111111111111111111111111111111111111111111111111111111111111111111"
			   "11111111111111111111" },
	};
	uint8_t value[HASH_MAX_BYTES];
	enum hash_format format;

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		check_int(hash_parse(bad[i].format, bad[i].text, value), -EINVAL);
	check_int(hash_parse(HASH_XXH64, "07E3670C0c8dc7eb", value), 0);
	check_int(value[0], 7);
	check_int(value[7], 0xeb);
	check_int(hash_format_parse("xxh128", 6, &format), 0);
	check_int(format, HASH_XXH128);
	check_int(hash_format_parse("xxh", 3, &format), -EINVAL);
	check_int(hash_format_parse("md5,", 4, &format), -EINVAL);
}
